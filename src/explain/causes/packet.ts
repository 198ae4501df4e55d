/** Packet accesses: no comparison with the end, one that proves too little, or one that no longer holds. */
import {
  type Case,
  type Cause,
  branchesBefore,
  comparedRegisters,
  copiesMemory,
  elementIn,
  giveUp,
  inLine,
  otherCheckOf,
  pointerIn,
} from "../case.ts";
import { accessSize } from "../effects.ts";
import { locationName, valueAt } from "../location.ts";
import type { PathStep } from "../path.ts";
import { type Place, placeOf } from "../place.ts";
import { type OriginEvent, originOf } from "../origin.ts";
import type { RegisterSnapshot } from "../../verifier/index.ts";
import { rangeWords } from "../words.ts";

/** A packet offset beyond this is not believed (MAX_PACKET_OFF of kernel/bpf/verifier.c). */
const MOST_OFFSET = 0xffff;

interface EndCheck {
  readonly index: number;
  readonly place: Place;
  readonly pointer: RegisterSnapshot;
}

/** Comparisons with the end of the packet on the path, newest first. */
function endChecks(one: Case): EndCheck[] {
  const found: EndCheck[] = [];
  for (const { index, step } of branchesBefore(one, one.at)) {
    const values = comparedRegisters(step).map((location) => valueAt(step.state, location));
    if (!values.some((value) => value?.type === "pkt_end")) continue;
    const pointer = values.find((value) => value?.type === "pkt");
    if (pointer !== undefined) found.push({ index, place: placeOf(one.path.program, step.slot), pointer });
  }
  return found;
}

/** What the program calls the end of the packet: by the line that loads it, or by a comparison. */
function endName(one: Case): string {
  for (const { step } of branchesBefore(one, one.at)) {
    const name = /([A-Za-z_]\w*)\s*=[^=;,]*->\s*data_end\b/.exec(endLoad(one, step) ?? "")?.[1];
    if (name !== undefined) return name;
  }
  for (const { place } of endChecks(one)) {
    const name = /[<>]=?\s*(?:\(\s*\w+\s*\*\s*\)\s*)?([A-Za-z_]\w*)\s*[)|&;]/.exec(place.text)?.[1];
    if (name !== undefined) return name;
  }
  return "data_end";
}

/** The source line of the load of data_end that a branch compares. */
function endLoad({ path }: Case, step: PathStep): string | undefined {
  const end = comparedRegisters(step).find((location) => valueAt(step.state, location)?.type === "pkt_end");
  if (end === undefined) return undefined;
  const load = originOf(path, path.steps.indexOf(step), end).findLast(({ kind }) => kind === "load");
  return load === undefined ? undefined : placeOf(path.program, load.slot).text;
}

/** Where the path computes the length of the packet: the difference of its end and a pointer into it. */
function lengthPlace({ path, at }: Case): Place | undefined {
  const step = path.steps
    .slice(0, Math.max(0, at))
    .findLast(({ instruction: { opcode, dst, src }, state }) => {
      const difference = (opcode & 0xf8) === 0x18 && ((opcode & 7) === 4 || (opcode & 7) === 7);
      const registers = state.frames.at(-1)?.registers;
      return difference && registers?.[dst]?.type === "pkt_end" && registers[src]?.type === "pkt";
    });
  return step === undefined ? undefined : placeOf(path.program, step.slot);
}

/** The comparison that belongs before the access; `bytes` if the source names no pointer whose type tells. */
function check(bytes: string, pointer: string, one: Case): string {
  const element = elementIn(one.place);
  const named = copiesMemory(one.place) ? undefined : pointerIn(one.place);
  const end =
    element !== undefined && !copiesMemory(one.place)
      ? `(void *)(&${element.whole} + 1)`
      : named === undefined
        ? `(void *)${pointer} + ${bytes}`
        : `(void *)(${named} + 1)`;
  return `if (${end} > ${endName(one)})\n    ${giveUp(one)}`;
}

/** How far behind the pointer the access reaches. */
function need(one: Case, value: RegisterSnapshot): number {
  const { groups } = one.complaint;
  const size = Number(groups["size"] ?? accessSize(one.step?.instruction.opcode ?? 0));
  const text = /off=(-?\d+) size=(\d+)/.exec(one.complaint.lines.join("\n"));
  if (text !== null) return Number(text[1]) + Number(text[2]);
  return value.offset + (one.step?.instruction.offset ?? 0) + size;
}

export function packetAccess(one: Case): Cause {
  const { value, place, subject } = one;
  const name = subject === undefined ? "the pointer" : locationName(subject);
  if (value === undefined) {
    return {
      cause: "The access may lie behind the end of the packet.",
      missing: "a comparison with data_end before the access",
      code: check("sizeof(*p)", "p", one),
    };
  }
  const bytes = need(one, value);
  const checks = endChecks(one);
  const own = checks.find(({ pointer }) => pointer.id === value.id);
  const variable = !value.constant;
  const reach = variable
    ? `up to byte ${bytes} behind a position that varies (${rangeWords(value)})`
    : `up to byte ${bytes} of the packet`;
  if (value.range < 0) {
    const at = own?.place;
    return {
      cause:
        `${name} is used where the comparison with data_end ${at === undefined ? "" : `${inLine(at)} `}has failed: on this path the ` +
        "bytes are known not to be there.",
      missing: "leave the function where the comparison fails, and access the packet only on the other side",
      code: check("sizeof(*p)", "p", one),
      where: at,
    };
  }
  if (own !== undefined && BigInt(MOST_OFFSET) < value.value.umax + BigInt(Math.max(0, value.offset))) {
    if (!variable) {
      return {
        cause:
          `A loop has moved ${name} ${value.offset} bytes into the packet, one constant step after another, and the verifier believes offsets up to ` +
          `${MOST_OFFSET} only: the comparison with data_end ${inLine(own.place)} does not end the loop for it.`,
        missing: "a limit of the rounds beside the comparison with data_end: no packet is as long as that",
        code: `for (int i = 0; i < 1500; i++) {\n    if ((void *)(p + 1) > ${endName(one)})\n        break;\n    ... *p++ ...\n}`,
        where: own.place,
      };
    }
    return {
      cause:
        `The comparison with data_end ${inLine(own.place)} tells nothing: the number in the offset may be ${rangeWords(value)}, and the ` +
        `verifier believes offsets up to ${MOST_OFFSET} only.`,
      missing: "bound the number before it is added to the pointer, then compare the sum with data_end",
      code: `if (len > 1500)\n    ${giveUp(one)}\np += len;\n${check("sizeof(*p)", "p", one)}`,
      where: own.place,
    };
  }
  const element = copiesMemory(place) ? undefined : elementIn(place);
  if (own !== undefined && value.range > 0 && element !== undefined) {
    return {
      cause:
        `The comparison ${inLine(own.place)} proves ${value.range} bytes, and ${element.whole} with this index needs ${bytes}: each element must be there ` +
        "before it is read.",
      missing: `a comparison with ${endName(one)} for this element, right before ${place === undefined || place.line === 0 ? "the access" : `line ${place.line}`}`,
      code: check(String(bytes), "data", one),
      where: place,
    };
  }
  if (own !== undefined && value.range > 0 && variable) {
    const there = Math.max(0, value.range - value.offset);
    const needed = bytes - value.offset;
    const pointer = (copiesMemory(place) ? undefined : pointerIn(place)) ?? "p";
    return {
      cause:
        `The comparison ${inLine(own.place)} proves ${there} byte${there === 1 ? "" : "s"} behind '${pointer}' (${rangeWords(value)} bytes further on than data + ${value.offset}), and this access ` +
        `needs ${needed}.`,
      missing: `compare ${pointer} + ${needed} with ${endName(one)}, instead of ${pointer}${there === 0 ? "" : ` + ${there}`}`,
      code: check("sizeof(*p)", "p", one),
      where: own.place,
    };
  }
  if (own !== undefined && value.range > 0) {
    return {
      cause:
        `The comparison ${inLine(own.place)} proves ${value.range} bytes, and this access needs ${bytes}: it reads ${bytes - value.range} ` +
        `byte${bytes - value.range === 1 ? "" : "s"} that may not be there.`,
      missing: `compare data + ${bytes} with ${endName(one)}, instead of data + ${value.range}`,
      code: check(String(bytes), "data", one),
      where: own.place,
    };
  }
  const copy = sameNumber(one, checks);
  if (copy !== undefined) {
    return {
      cause:
        `The comparison with data_end ${inLine(copy.place)} was made with another pointer than ${name}: the compiler computed the sum of ` +
        "data and offset twice, and what is known of one sum is not known of the other.",
      missing:
        "make the compiler keep one pointer: compute it once, and hide it from the optimiser behind an empty asm",
      code: `void *p = data + off;\nasm volatile("" : "+r"(p));\nif (p + sizeof(*h) > data_end)\n    ${giveUp(one)}\nh = p;`,
      where: copy.place,
      artefact: `the comparison ${inLine(copy.place)} is on another pointer with the same offset`,
    };
  }
  const earlier = checks.find(({ index }) => addedAfter(one, index));
  if (variable && earlier !== undefined) {
    return {
      cause:
        `A number (${rangeWords(value)}) was added to the pointer after the comparison ${inLine(earlier.place)}, so that nothing is known any ` +
        `more of the bytes behind it. The access reaches ${reach}.`,
      missing: "compare the pointer with data_end again, after the number was added",
      code: check("sizeof(*p)", "p", one),
      where: place,
    };
  }
  const length = lengthPlace(one);
  return {
    cause:
      length !== undefined
        ? `The length of the packet (data_end - data, ${inLine(length)}) is a number like any other: comparing an index or a size with it tells the verifier nothing ` +
          `about the pointer in ${name}. Only comparing a packet pointer with data_end does. The access reaches ${reach}.`
        : checks.length === 0
          ? `Nothing on this path compares the packet with data_end, and the access reaches ${reach}.`
          : `No comparison with data_end on this path is about the pointer in ${name}, and the access reaches ${reach}.`,
    missing: `a comparison with data_end before ${place === undefined || place.line === 0 ? "the access" : `line ${place.line}`}`,
    code: check(variable ? "sizeof(*p)" : String(bytes), variable ? "p" : "data", one),
    where: place,
  };
}

/** A comparison of another sum with the same number in it. */
function sameNumber(one: Case, checks: readonly EndCheck[]): EndCheck | undefined {
  const { value } = one;
  if (value === undefined || value.constant || checks.length === 0) return undefined;
  const copy = checks.find(
    ({ pointer }) =>
      !pointer.constant &&
      pointer.id !== value.id &&
      pointer.value.umax === value.value.umax &&
      pointer.value.mask === value.value.mask,
  );
  if (copy !== undefined) return copy;
  const other = otherCheckOf(one, one.origin);
  return other === undefined ? undefined : checks.find(({ place }) => place.slot === other.place.slot);
}

/** Whether the pointer got a new variable part after a step. */
function addedAfter({ origin, path }: Case, index: number): boolean {
  return origin.some(
    (event) => event.step > index && event.from.length === 2 && packetIn(path.steps[event.step], event),
  );
}

function packetIn(step: PathStep | undefined, { from }: OriginEvent): boolean {
  return step !== undefined && from.some((location) => valueAt(step.state, location)?.type === "pkt");
}

/** The pointer was good until a call that may change the packet. */
export function packetInvalidated(one: Case, event: OriginEvent): Cause {
  const call = placeOf(one.path.program, event.slot);
  const name = event.callee ?? "the call";
  return {
    class: "packet-bounds",
    cause:
      `${name}() ${inLine(call)} may change or move the packet, so every packet pointer from before the call is invalid after it, and every ` +
      "comparison with data_end too.",
    missing: `load data and data_end from the context again after ${inLine(call).replace("in ", "")}, and compare again`,
    code: `${name}(ctx, ...);\ndata = (void *)(long)ctx->data;\ndata_end = (void *)(long)ctx->data_end;\n${check("sizeof(*p)", "data", one)}`,
    where: call,
  };
}
