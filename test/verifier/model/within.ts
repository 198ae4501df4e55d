/** Whether what a run has in its registers is what the verifier knows of them. */
import type { FrameView, InstructionView, RegisterView } from "../../../src/verifier/index.ts";

/** Whether a number is one of those that a view stands for. */
export function inRange({ value: parts }: RegisterView, given: bigint): boolean {
  const unsigned = BigInt.asUintN(64, given);
  const signed = BigInt.asIntN(64, given);
  const low = Number(BigInt.asUintN(32, given));
  return (
    (unsigned & ~parts.mask) === parts.value &&
    unsigned >= parts.umin &&
    unsigned <= parts.umax &&
    signed >= parts.smin &&
    signed <= parts.smax &&
    low >= parts.u32min &&
    low <= parts.u32max &&
    (low | 0) >= parts.s32min &&
    (low | 0) <= parts.s32max
  );
}

/** Says whether a register's value is one of a view's; of pointers as far as it knows what they point to. */
export type Fits = (view: RegisterView, value: bigint) => boolean;

/** Whether a visit can be the place of the run: same depth, and all registers that are still read fit. */
export function holds(
  visit: FrameView,
  live: number,
  registers: readonly bigint[],
  depth: number,
  fits: Fits,
): boolean {
  if (visit.frame !== depth) return false;
  for (let regno = 0; regno < 10; regno++) {
    if (((live >> regno) & 1) === 0) continue;
    const view = visit.registers[regno];
    // What must not be read may hold anything.
    if (view !== undefined && !fits(view, registers[regno] as bigint)) return false;
  }
  return true;
}

/** For people: what does not fit into the visit that fits best. */
export function mismatch(
  view: InstructionView,
  registers: readonly bigint[],
  depth: number,
  fits: Fits,
): string {
  let best: string[] | undefined;
  for (const visit of view.visits) {
    if (visit.frame !== depth) continue;
    const wrong: string[] = [];
    for (let regno = 0; regno < 10; regno++) {
      if (((view.live >> regno) & 1) === 0) continue;
      const known = visit.registers[regno];
      const value = registers[regno] as bigint;
      if (known !== undefined && !fits(known, value))
        wrong.push(`r${regno}=0x${value.toString(16)} is no ${shown(known)}`);
    }
    if (best === undefined || wrong.length < best.length) best = wrong;
  }
  return best?.join(", ") ?? "no visit in a frame of this depth";
}

function shown({ type, offset, value }: RegisterView): string {
  const fields = Object.entries(value).map(([name, number]) => `${name}=${String(number)}`);
  return `${type}(off=${offset},${fields.join(",")})`;
}
