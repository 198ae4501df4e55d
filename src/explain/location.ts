/** Registers and stack slots as places that hold values, and what they hold in a state. */
import type { RegisterSnapshot, StateSnapshot } from "../verifier/index.ts";

/** A register, or eight bytes of stack. `frame` counts calls from the outside in. */
export type Location =
  | { readonly kind: "register"; readonly frame: number; readonly regno: number }
  | { readonly kind: "slot"; readonly frame: number; readonly slot: number };

export function register(frame: number, regno: number): Location {
  return { kind: "register", frame, regno };
}

/** The slot of a byte at an offset from the frame pointer. */
export function slotOf(frame: number, offset: number): Location {
  return { kind: "slot", frame, slot: Math.floor((-offset - 1) / 8) };
}

export function sameLocation(a: Location, b: Location): boolean {
  return locationKey(a) === locationKey(b);
}

export function locationKey(location: Location): string {
  return location.kind === "register"
    ? `r${location.regno}.${location.frame}`
    : `s${location.slot}.${location.frame}`;
}

/** "R3", "fp-16": as the log names it. */
export function locationName(location: Location): string {
  return location.kind === "register" ? `R${location.regno}` : `fp-${(location.slot + 1) * 8}`;
}

export function frameOf({ frames }: StateSnapshot): number {
  return frames.length - 1;
}

/** What is there as one value; undefined if nothing that may be read as one. */
export function valueAt({ frames }: StateSnapshot, location: Location): RegisterSnapshot | undefined {
  const frame = frames[location.frame];
  return location.kind === "register"
    ? frame?.registers[location.regno]
    : frame?.slots[location.slot]?.spilled;
}

/** A text that differs when something that matters became known or unknown: names of values do not matter. */
export function knowledgeAt({ frames }: StateSnapshot, location: Location): string {
  const frame = frames[location.frame];
  const text =
    location.kind === "register" ? frame?.registers[location.regno]?.text : frame?.slots[location.slot]?.text;
  return (text ?? "")
    .replaceAll(/\b(ref_obj_)?id=[\d+-]+,?|P(?=scalar|-?\d)/g, "")
    .replaceAll("(,", "(")
    .replace(/[(,]\)/, ")")
    .replace("()", "");
}
