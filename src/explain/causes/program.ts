/** What concerns the program as a whole: return values, loops, size, form. */
import { returnRule, hookOf } from "../../hooks/index.ts";
import type { AttachType } from "../../uapi/index.ts";
import { type Case, type Cause, inLine, placeOfEvent } from "../case.ts";
import { type Place, placeOf } from "../place.ts";
import { rangeWords, valueWords } from "../words.ts";

export function returnValue(one: Case): Cause {
  const { complaint, value, origin, path, place } = one;
  const allowed = /should have been in \[(-?\d+), (-?\d+)\]/.exec(complaint.message);
  const made = origin.findLast(
    ({ kind }) => kind !== "move" && kind !== "check" && kind !== "entry" && kind !== "truncate",
  );
  const at = made === undefined ? place : placeOfEvent(one, made);
  const { type, attachType } = path.program;
  const inside = /callback|subprogram/i.test(complaint.message);
  const values = inside ? "" : names(type, attachType);
  const [least, most] = [allowed?.[1] ?? "0", allowed?.[2] ?? "1"];
  const range = allowed === null ? "" : least === most ? `${least} only` : `${least} to ${most}`;
  if (value === undefined || value.pointer) {
    return {
      cause: `The program returns ${valueWords(value)} where a number${range === "" ? "" : ` from ${range}`} is expected.`,
      missing: "a number as return value",
      code: "return 0;",
      place: at,
      where: at,
    };
  }
  const from = made?.kind === "call_result" ? ` It is what ${made.callee ?? "a call"}() returned.` : "";
  return {
    cause: `${inside ? "The function" : `A ${type} program`} may return ${rangeWords(value)} here, and what is allowed is ${range === "" ? "less" : range}${values === "" ? "" : ` (${values})`}.${from}`,
    missing:
      allowed !== null && least === most
        ? `the return value ${least} on every path`
        : `a return value ${range === "" ? "in the allowed range" : `from ${range}`} on every path`,
    code:
      value.constant || least === most
        ? `return ${most === "0" ? most : least};`
        : least === ERRNO_LEAST && most === "0"
          ? "return denied ? -1 : 0;    /* an errno negated: -1 is -EPERM */"
          : `return x ? ${most} : ${least};`,
    place: at,
    where: at,
  };
}

/** -MAX_ERRNO: where errors are allowed, all of them are. */
const ERRNO_LEAST = "-4095";

function names(type: Parameters<typeof hookOf>[0], attach: AttachType | undefined): string {
  const values = returnRule(hookOf(type), attach)?.values ?? [];
  return values
    .slice(0, 6)
    .map(({ name, value }) => `${name} ${value}`)
    .join(", ");
}

/** The jump back that was taken most often on the failing path, and how often. */
function hottestLoop({ path }: Case): { head: number; from: number; count: number } | undefined {
  const counts = new Map<number, { head: number; from: number; count: number }>();
  const { slots } = path;
  for (let index = 1; index < slots.length; index++) {
    const from = slots[index - 1] as number;
    const head = slots[index] as number;
    if (head > from) continue;
    const key = from * 0x100000 + head;
    const seen = counts.get(key);
    if (seen === undefined) counts.set(key, { head, from, count: 1 });
    else seen.count++;
  }
  return [...counts.values()].sort((first, second) => second.count - first.count)[0];
}

/** Slots visited most over all paths, when no single path has a loop. */
function hottestSlot({ path }: Case): { slot: number; count: number } | undefined {
  const counts = new Map<number, number>();
  for (const slot of path.trace?.slots ?? []) counts.set(slot, (counts.get(slot) ?? 0) + 1);
  let best: { slot: number; count: number } | undefined;
  for (const [slot, count] of counts) if (best === undefined || count > best.count) best = { slot, count };
  return best;
}

export function tooComplex(one: Case): Cause {
  const { complaint, path, place } = one;
  const { rule, groups } = complaint;
  const loop = hottestLoop(one);
  const head = loop === undefined ? undefined : loopPlace(one, loop);
  if (rule?.cause === "infinite") {
    const at = groups["insn"] === undefined ? place : placeOf(path.program, Number(groups["insn"]));
    return {
      cause: `The loop ${at === undefined ? "" : inLine(at)} comes back to where it began with everything as it was: nothing in the state changes from one round to the next, so it would never end.`,
      missing: "a counter that changes in every round and is compared in the loop's condition",
      code: "for (int i = 0; i < 64; i++) { ... }\n/* or bpf_for(i, 0, n), bpf_loop(n, callback, &ctx, 0), can_loop */",
      place: at,
      where: at,
    };
  }
  const most = rule?.cause === "instructions" ? "a million instructions" : "8192 jumps that wait";
  if (head !== undefined && loop !== undefined && loop.count > 8) {
    return {
      cause:
        `The verifier gives up after ${most}: it walks each round of a loop by itself, and the loop ${inLine(head)} was walked ${loop.count} times on the ` +
        "last path alone.",
      missing:
        "fewer rounds, or a loop whose rounds are not walked one by one: bpf_loop(), bpf_for(), or a mask that bounds the counter",
      code: "static int round(__u64 i, void *ctx) { ...; return 0; }\nbpf_loop(1 << 20, round, &ctx, 0);",
      place: head,
      where: head,
    };
  }
  const hot = hottestSlot(one);
  const at = hot === undefined ? place : placeOf(path.program, hot.slot);
  return {
    cause:
      `The verifier gives up after ${most}: too many different paths lead through the program` +
      `${at === undefined || hot === undefined ? "" : `; the instruction ${inLine(at)} was reached ${hot.count} times, with a different state each time`}.`,
    missing:
      "fewer branches whose results stay in variables: static functions with few arguments, global functions (verified once), masks instead of comparisons",
    code: "__noinline int classify(struct args *a) { ... }   /* global: verified by itself */",
    place: at,
    where: at,
  };
}

/** The line of the loop: the first of those that its instructions come from, where for and while stand. */
function loopPlace({ path }: Case, { head, from }: { readonly head: number; readonly from: number }): Place {
  const back = placeOf(path.program, from);
  let first = back;
  for (let slot = head; slot <= from; slot++) {
    const place = placeOf(path.program, slot);
    if (place.file === back.file && place.line > 0 && (first.line === 0 || place.line < first.line))
      first = place;
  }
  return first;
}

export function malformed(one: Case): Cause {
  const { complaint, place, path } = one;
  const { rule, groups } = complaint;
  const slot = groups["insn"] ?? /insn (\d+)/.exec(complaint.message)?.[1];
  const at = slot === undefined ? place : placeOf(path.program, Number(slot));
  switch (rule?.cause) {
    case "flow":
      return {
        cause: `The program's control flow is not sound: ${complaint.message}. Every instruction must be reached, and control must stay inside of functions.`,
        missing:
          "code without jumps out of functions and without dead code; a function that never returns leaves dead code behind it",
        code: "",
        place: at,
        where: at,
      };
    case "instruction":
      return {
        cause: `An instruction is not one that the kernel knows: ${complaint.message}.`,
        missing:
          "a compiler that makes instructions for this kernel (-mcpu=v3 or lower), or well-formed instructions",
        code: "",
        place: at,
        where: at,
      };
    default:
      return {
        cause: `The type information that comes with the program does not fit it: ${complaint.message}.`,
        missing: "an object compiled with -g whose sections were not changed afterwards",
        code: "",
        place: at,
        where: at,
      };
  }
}

export function otherRule({ complaint, place }: Case): Cause {
  return {
    cause:
      complaint.message === "" ? "The verifier gives no reason." : `The verifier says: ${complaint.message}.`,
    missing: "see the log",
    code: "",
    where: place,
  };
}
