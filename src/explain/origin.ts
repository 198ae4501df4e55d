/**
 * Where a value came from: a walk back along the failing path from a register or slot to the instructions that made it so.
 *
 * The walk holds one place at a time. An instruction that wrote the place sends it on to what it was written from: the source
 * of a move, the slot of a fill, the register of a spill, the caller's register at the entry of a function, the callee's r0 at
 * its return. Arithmetic on two registers sends it to both, first operand first. An instruction that did not write the place
 * but after which more or less is known of it is an event too: a comparison that bounds it, a NULL check, a call after which
 * packet pointers are invalid. The walk ends at constants, loads from memory, results of calls, and the function's entry.
 */
import type { RegisterSnapshot } from "../verifier/index.ts";
import { type EffectKind, KERNEL_FUNCTION, effectOf, helperOf, isBranch, isCall } from "./effects.ts";
import { kfuncName } from "./instructions.ts";
import { type Location, knowledgeAt, locationKey, valueAt } from "./location.ts";
import type { FailingPath, PathStep } from "./path.ts";

export type OriginKind =
  | EffectKind
  /** A conditional jump told something. */
  | "check"
  /** A call or store changed what is known, or ended it. */
  | "invalidated"
  | "changed"
  /** A call filled these bytes of the stack. */
  | "written"
  /** It was so when the function began. */
  | "entry";

/** One instruction that had a part in it. */
export interface OriginEvent {
  /** Index in the path's steps. */
  readonly step: number;
  readonly slot: number;
  readonly kind: OriginKind;
  readonly location: Location;
  /** What it was made from; the walk went on there. */
  readonly from: readonly Location[];
  readonly callee: string | undefined;
  readonly before: RegisterSnapshot | undefined;
  readonly after: RegisterSnapshot | undefined;
}

/** More events than a person reads. */
const MOST_EVENTS = 64;

/** The events that made `location` what it is before step `at`, oldest first. */
export function originOf(path: FailingPath, at: number, location: Location): OriginEvent[] {
  const { steps } = path;
  const events: OriginEvent[] = [];
  const seen = new Set<string>();
  const work: { readonly at: number; readonly location: Location }[] = [{ at, location }];
  for (let item = work.shift(); item !== undefined && events.length < MOST_EVENTS; item = work.shift()) {
    let place = item.location;
    let index = item.at - 1;
    let ended = false;
    for (; index >= 0 && events.length < MOST_EVENTS; index--) {
      const key = `${index}:${locationKey(place)}`;
      if (seen.has(key)) {
        ended = true;
        break;
      }
      seen.add(key);
      const event = eventAt(path, index, place);
      if (event === undefined) continue;
      events.push(event);
      if (!isDefinition(event.kind)) continue;
      const [first, ...others] = event.from;
      for (const other of others) work.push({ at: index, location: other });
      if (first === undefined) {
        ended = true;
        break;
      }
      place = first;
    }
    const first = steps[0];
    if (!ended && index < 0 && first !== undefined) {
      const value = valueAt(first.state, place);
      events.push({
        step: -1,
        slot: first.slot,
        kind: "entry",
        location: place,
        from: [],
        callee: undefined,
        before: value,
        after: value,
      });
    }
  }
  return events.sort((first, second) => first.step - second.step);
}

function isDefinition(kind: OriginKind): boolean {
  return kind !== "check" && kind !== "invalidated" && kind !== "changed";
}

function eventAt(path: FailingPath, index: number, place: Location): OriginEvent | undefined {
  const { steps } = path;
  const step = steps[index] as PathStep;
  const next = steps[index + 1];
  const effect = effectOf(step, next, place);
  const common = {
    step: index,
    slot: step.slot,
    location: place,
    before: valueAt(step.state, place),
    after: next === undefined ? undefined : valueAt(next.state, place),
  };
  if (effect !== undefined) {
    const callee =
      effect.callee === KERNEL_FUNCTION ? kfuncName(path.program, step.instruction.imm) : effect.callee;
    return { ...common, kind: effect.kind, from: effect.from, callee };
  }
  if (next === undefined || place.frame >= next.state.frames.length) return undefined;
  if (knowledgeAt(step.state, place) === knowledgeAt(next.state, place)) return undefined;
  const filled = isCall(step) && place.kind === "slot" && common.before?.pointer !== true;
  const kind = filled ? "written" : isBranch(step) ? "check" : isCall(step) ? "invalidated" : "changed";
  return { ...common, kind, from: [], callee: isCall(step) ? calleeOf(path, step) : undefined };
}

function calleeOf({ program }: FailingPath, step: PathStep): string {
  const helper = helperOf(step);
  if (helper !== undefined) return `bpf_${helper}`;
  return step.instruction.src === 2 ? kfuncName(program, step.instruction.imm) : "a function";
}
