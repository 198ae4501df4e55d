/** A rejection taken apart: what explanations of the causes are made from. */
import type { RegisterSnapshot } from "../verifier/index.ts";
import type { RejectionClass } from "./classes.ts";
import type { Complaint } from "./classify.ts";
import { isBranch } from "./effects.ts";
import { type Location, register } from "./location.ts";
import { type OriginEvent, originOf } from "./origin.ts";
import type { FailingPath, PathStep } from "./path.ts";
import { type Place, placeOf } from "./place.ts";

export interface Case {
  readonly path: FailingPath;
  readonly complaint: Complaint;
  /** Index of the step at fault; -1 if the walk had not begun, or was over. */
  readonly at: number;
  readonly step: PathStep | undefined;
  /** Where the instruction at fault stands. */
  readonly place: Place | undefined;
  /** The register or slot that is complained about. */
  readonly subject: Location | undefined;
  readonly value: RegisterSnapshot | undefined;
  readonly origin: readonly OriginEvent[];
}

/** What one cause comes to. */
export interface Cause {
  /** If another class fits better than the one that the message names. */
  readonly class?: RejectionClass;
  /** What is wrong, in plain words: sentences. */
  readonly cause: string;
  /** What is missing, and where it belongs. */
  readonly missing: string;
  /** The usual pattern in C; "" if there is none. */
  readonly code: string;
  /** The place to name, if it is not that of the instruction at fault. */
  readonly place?: Place | undefined;
  /** Where the change goes. */
  readonly where?: Place | undefined;
  /** The program checks what it should, but the compiler's instructions do not show it: how. */
  readonly artefact?: string;
}

export function placeOfEvent({ path }: Case, { slot }: Pick<OriginEvent, "slot">): Place {
  return placeOf(path.program, slot);
}

/** "in line 12", "at instruction 7". */
export function inLine({ line, slot }: Place): string {
  return line === 0 ? `at instruction ${slot}` : `in line ${line}`;
}

/** The variable that a source line assigns to: "v" of "v = bpf_map_lookup_elem(&m, &k);". */
export function assignedIn({ text }: Place, otherwise: string): string {
  return /([A-Za-z_]\w*)\s*=(?!=)/.exec(text)?.[1] ?? otherwise;
}

/** The pointer that a source line goes through: "eth" of "eth->h_proto". */
export function pointerIn(place: Place | undefined): string | undefined {
  return /([A-Za-z_]\w*)\s*->/.exec(place?.text ?? "")?.[1];
}

/** What the last arrow of a chain goes through: "ops->sk" of "ops->sk->state". */
export function chainIn(place: Place | undefined): string | undefined {
  return /((?:[A-Za-z_]\w*\s*->\s*)*[A-Za-z_]\w*)\s*->/.exec(place?.text ?? "")?.[1];
}

/** The index in brackets in a source line: "i" of "a[i] = 1". */
export function indexIn(place: Place | undefined): string | undefined {
  return /\[([A-Za-z_][\w.>-]*)\]/.exec(place?.text ?? "")?.[1];
}

/** "flow->history[row * 4 + column]" of a source line: the array, the index if it is no constant, and the whole. */
export function elementIn(
  place: Place | undefined,
): { readonly array: string; readonly index: string; readonly whole: string } | undefined {
  const match = /((?:[A-Za-z_]\w*(?:->|\.))*[A-Za-z_]\w*|\(\([^()]+\)\s*[A-Za-z_]\w*\))\[([^\][]+)\]/.exec(
    place?.text ?? "",
  );
  const [whole = "", array = "", index = ""] = match ?? [];
  if (match === null || !/[A-Za-z_]/.test(index)) return undefined;
  return { array, index: index.trim(), whole };
}

/** Whether a source line copies memory, so that its pointers are not those of one access. */
export function copiesMemory(place: Place | undefined): boolean {
  return /mem(cpy|move|cmp|set)/.test(place?.text ?? "");
}

/** The argument of a call in a source line, counted from 1, if it is a name. */
export function argumentIn(place: Place | undefined, number: number): string | undefined {
  const text = argumentText(place, number) ?? "";
  return /^[A-Za-z_]\w*$/.test(text) ? text : undefined;
}

/** The argument as it stands. */
export function argumentText(place: Place | undefined, number: number): string | undefined {
  const list = /\w+\((.*)\)/.exec(place?.text ?? "")?.[1];
  if (list === undefined) return undefined;
  let depth = 0;
  const args = [""];
  for (const char of list) {
    if (char === "(") depth++;
    else if (char === ")") depth--;
    if (char === "," && depth === 0) args.push("");
    else args[args.length - 1] += char;
  }
  return args[number - 1]?.trim();
}

/** What the function at fault returns when it gives up, as C: only the entry program's values have names. */
export function giveUp({ path, place }: Case): string {
  const entry = placeOf(path.program, 0).function;
  if (place !== undefined && place.function !== entry) return "return 0;";
  switch (path.program.type) {
    case "xdp":
      return "return XDP_PASS;";
    case "sched_cls":
    case "sched_act":
      return "return TC_ACT_OK;";
    default:
      return "return 0;";
  }
}

/** Conditional jumps on the path before a step, newest first. */
export function branchesBefore({ path }: Case, at: number, most = 200): { index: number; step: PathStep }[] {
  const found: { index: number; step: PathStep }[] = [];
  for (let index = at - 1; index >= 0 && found.length < most; index--) {
    const step = path.steps[index] as PathStep;
    if (isBranch(step)) found.push({ index, step });
  }
  return found;
}

/** Registers that a conditional jump compares. */
export function comparedRegisters({ instruction: { dst, src, opcode }, state }: PathStep): Location[] {
  const frame = state.frames.length - 1;
  return (opcode & 8) === 0 ? [register(frame, dst)] : [register(frame, dst), register(frame, src)];
}

/** The last definition of a lineage that came from outside: a load, a result, an argument. */
export function sourceOf(origin: readonly OriginEvent[]): OriginEvent | undefined {
  return origin.findLast(
    ({ kind }) =>
      kind === "load" ||
      kind === "call_result" ||
      kind === "atomic" ||
      kind === "partial_fill" ||
      kind === "written",
  );
}

const ORDER: ReadonlySet<number> = new Set([0x20, 0x30, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0]);

/** Whether a conditional jump bounds what it compares: <, <=, >, >=. */
export function isOrdering({ instruction: { opcode } }: PathStep): boolean {
  return ORDER.has(opcode & 0xf0);
}

/** A comparison on the path of another copy of a number than the one that is used. */
export interface OtherCheck {
  readonly place: Place;
  readonly register: Location;
  /** The number was loaded once and copied, or loaded twice. */
  readonly kind: "copy" | "reload";
}

/**
 * Finds comparisons of the same number that told nothing about the copy that is used. Both copies were computed from one load or
 * call result; or from two loads of the same address.
 */
export function otherCheckOf(one: Case, used: readonly OriginEvent[]): OtherCheck | undefined {
  const source = sourceOf(used);
  if (source === undefined) return undefined;
  const known = new Set(used.filter(({ kind }) => kind === "check").map(({ step }) => step));
  for (const { index, step } of branchesBefore(one, one.at, 60)) {
    if (known.has(index) || !isOrdering(step)) continue;
    for (const compared of comparedRegisters(step)) {
      const other = sourceOf(originOf(one.path, index, compared));
      if (other === undefined) continue;
      const place = placeOf(one.path.program, step.slot);
      if (other.step === source.step) return { place, register: compared, kind: "copy" };
      if (addressOf(one, other) !== undefined && addressOf(one, other) === addressOf(one, source)) {
        return { place, register: compared, kind: "reload" };
      }
    }
  }
  return undefined;
}

/** What a load reads, if two loads of it read the same bytes. */
function addressOf({ path }: Case, event: OriginEvent): string | undefined {
  const step = path.steps[event.step];
  if (step === undefined || event.kind !== "load") return undefined;
  const { src, offset, opcode } = step.instruction;
  const reg = step.state.frames.at(-1)?.registers[src];
  if (reg === undefined || !reg.pointer || !reg.constant) return undefined;
  return [reg.type, reg.map?.name, reg.id, reg.offset, String(reg.value.value), offset, opcode & 0x18].join();
}
