/** Numbers without a range: offsets into map values and memory, lengths. */
import {
  type Case,
  type Cause,
  argumentIn,
  argumentText,
  elementIn,
  giveUp,
  inLine,
  indexIn,
  otherCheckOf,
  placeOfEvent,
  sourceOf,
} from "../case.ts";
import { accessSize } from "../effects.ts";
import { type Location, locationName, register, valueAt } from "../location.ts";
import { type OriginEvent, originOf } from "../origin.ts";
import type { RegisterSnapshot } from "../../verifier/index.ts";
import { rangeWords } from "../words.ts";

/** The number that was added to the pointer last, with its origin. */
interface Added {
  readonly value: RegisterSnapshot;
  readonly origin: readonly OriginEvent[];
  readonly location: Location;
}

/** What made the pointer's offset vary. */
function addedTo(one: Case): Added | undefined {
  for (const event of one.origin.toReversed()) {
    if (event.kind !== "arithmetic" || event.from.length !== 2) continue;
    const step = one.path.steps[event.step];
    if (step === undefined) continue;
    for (const location of event.from) {
      const value = valueAt(step.state, location);
      if (value === undefined || value.pointer || value.constant) continue;
      return { value, location, origin: originOf(one.path, event.step, location) };
    }
  }
  return undefined;
}

/** Where the number came from, as the end of a sentence. */
function cameFrom(one: Case, origin: readonly OriginEvent[]): string {
  const source = sourceOf(origin);
  if (source === undefined) return "";
  const place = placeOfEvent(one, source);
  return source.kind === "call_result"
    ? ` It is what ${source.callee ?? "a call"}() returned ${inLine(place)}.`
    : ` It was loaded ${inLine(place)}.`;
}

/** The comparison that bounded the number, if any did. */
function boundedBy(one: Case, origin: readonly OriginEvent[]): string {
  const check = origin.findLast(({ kind }) => kind === "check");
  if (check?.after === undefined) return "";
  const wraps = origin.find((event) => event.step > check.step && wrapsBy(one, event) !== undefined);
  const amount = wraps === undefined ? undefined : wrapsBy(one, wraps);
  return (
    ` The comparison ${inLine(placeOfEvent(one, check))} leaves ${rangeWords(check.after)}.` +
    (wraps === undefined || amount === undefined
      ? ""
      : ` After it ${amount} is subtracted ${inLine(placeOfEvent(one, wraps))}, and a number below ${amount} then wraps around to a very large one.`)
  );
}

/** How much an instruction subtracts, if the number may be smaller than that. */
function wrapsBy({ path }: Case, { step, kind, from, before, after }: OriginEvent): number | undefined {
  const instruction = path.steps[step]?.instruction;
  if (instruction === undefined || !kind.startsWith("arithmetic") || from.length !== 1) return undefined;
  const operation = instruction.opcode & 0xf0;
  const amount = operation === 0x10 ? instruction.imm : operation === 0 ? -instruction.imm : 0;
  if (amount <= 0 || before === undefined || after === undefined) return undefined;
  return before.value.u32min < amount && after.value.u32max > before.value.u32max ? amount : undefined;
}

/** `count`: how many elements there are, as C. */
function artefactOf(
  one: Case,
  origin: readonly OriginEvent[],
  name: string,
  count: string,
): (Pick<Cause, "artefact" | "where"> & { text: string; code: string }) | undefined {
  const other = otherCheckOf(one, origin);
  if (other === undefined) return undefined;
  if (other.kind === "reload") {
    return {
      text:
        ` The comparison ${inLine(other.place)} is about another load of the same memory: between the two loads the value may change, so it tells ` +
        "nothing about this one.",
      code: `__u32 i = *(volatile __u32 *)&${name};  /* one load */\nif (i >= ${count})\n    ${giveUp(one)}\n... a[i] ...`,
      where: other.place,
      artefact: `the value is loaded twice; the comparison ${inLine(other.place)} is on the other load`,
    };
  }
  return {
    text:
      ` The program does compare this number ${inLine(other.place)}, but on another copy of it (${locationName(other.register)}) than the one that ` +
      "is used: the compiler's instructions hide from the verifier that both are the same.",
    code: `asm volatile("" : "+r"(${name}));   /* before the comparison ${inLine(other.place)}: one copy for both */`,
    where: other.place,
    artefact: `the comparison ${inLine(other.place)} is on another register than the access`,
  };
}

/** Bytes of one element: what shifts and multiplications by constants made of the index. */
function elementSize({ path }: Case, origin: readonly OriginEvent[]): number {
  let size = 1;
  for (const { step, kind } of origin) {
    const instruction = path.steps[step]?.instruction;
    // From a register, or no arithmetic.
    if (instruction === undefined || !kind.startsWith("arithmetic") || (instruction.opcode & 8) !== 0)
      continue;
    const operation = instruction.opcode & 0xf0;
    // The compiler extends signs and zeros by shifting left and back.
    if (operation === 0x60) size *= 2 ** instruction.imm;
    else if (operation === 0x70 || operation === 0xc0) size /= 2 ** instruction.imm;
    else if (operation === 0x20) size *= instruction.imm;
  }
  return Number.isInteger(size) && size > 0 && size <= 65536 ? size : 1;
}

/** How many elements lie before the largest offset. */
function elementCount(one: Case, origin: readonly OriginEvent[], largest: number): number {
  return Math.floor(Math.max(0, largest) / elementSize(one, origin)) + 1;
}

/** What a call's argument adds to its pointer: "off" of "read(buf + off, ...)". */
function addendIn({ step, subject, place }: Case): string | undefined {
  if (step?.instruction.opcode !== 0x85 || subject?.kind !== "register") return undefined;
  return /\+\s*([A-Za-z_]\w*)$/.exec(argumentText(place, subject.regno) ?? "")?.[1];
}

/** The comparison that is missing, with the names of the source; `largest` offset, -1 if only the sign is at fault. */
function indexCheck(one: Case, origin: readonly OriginEvent[], largest: number): string {
  const element = elementIn(one.place);
  if (element !== undefined && !/^[A-Za-z_][\w.>-]*$/.test(element.index)) {
    // A sum: what each of its parts was multiplied by tells nothing of the whole.
    return (
      `__u32 i = ${element.index};\nasm volatile("" : "+r"(i));   /* one copy for the comparison and the access */\n` +
      `if (i >= sizeof(${element.array}) / sizeof(${element.array}[0]))\n    ${giveUp(one)}\n... ${element.array}[i] ...`
    );
  }
  const name = element?.index ?? indexIn(one.place) ?? addendIn(one) ?? "i";
  if (largest < 0) {
    const most = element === undefined ? "N" : `sizeof(${element.array}) / sizeof(${element.array}[0])`;
    return `if (${name} < 0 || ${name} >= ${most})\n    ${giveUp(one)}`;
  }
  const count = elementCount(one, origin, largest);
  const mask = count > 1 && (count & (count - 1)) === 0 ? `\n/* or: ${name} &= ${count - 1}; */` : "";
  return `if (${name} >= ${count})\n    ${giveUp(one)}${mask}`;
}

const WHAT: Readonly<Record<string, string>> = {
  "map value": "value of the map",
  "map key": "key of the map",
  memory: "memory",
};

/** An access to a map value, a map key or memory of known size. */
export function regionAccess(one: Case): Cause {
  const { value, complaint, place } = one;
  const { groups } = complaint;
  const size = Number(groups["size"] ?? accessSize(one.step?.instruction.opcode ?? 0x18));
  const limit = Number(groups["limit"] ?? value?.size ?? 0);
  const map = value?.map === undefined ? "" : ` '${value.map.name}'`;
  const kind = groups["what"] ?? (value?.type === "map_value" ? "map value" : "memory");
  const region = `${WHAT[kind] ?? "memory"}${map}`;
  if (value === undefined || value.constant) {
    const at = groups["at"] ?? "?";
    const call = one.step !== undefined && one.step.instruction.opcode === 0x85;
    const element = call ? undefined : elementIn(place);
    if (element !== undefined) {
      return {
        cause: `${element.whole} lies outside of the ${region} here: the access of ${size} byte${size === 1 ? "" : "s"} is at offset ${at} of ${limit} bytes, a constant in this round of the loop.`,
        missing: `a limit of the loop that is no larger than the array: '${element.index}' goes beyond it`,
        code: `if (${element.index} >= sizeof(${element.array}) / sizeof(${element.array}[0]))\n    break;`,
        where: place,
      };
    }
    const length = call ? lengthOf(one, size) : undefined;
    if (length !== undefined) return length;
    return {
      cause: `The access of ${size} byte${size === 1 ? "" : "s"} at offset ${at} does not lie in the ${limit} bytes of the ${region}.`,
      missing:
        one.step !== undefined && one.step.instruction.opcode === 0x85
          ? `a pointer to at least ${size} bytes; check the length that is passed, and the size of the key or value`
          : "an offset inside of the value: check the type that the pointer is cast to, and the map's value size",
      code: "",
      where: place,
    };
  }
  const added = addedTo(one);
  const used = added?.origin ?? one.origin;
  const negative = value.value.smin + BigInt(value.offset) < 0n;
  const number =
    added === undefined
      ? "The offset"
      : `The number that is added to the pointer (${locationName(added.location)})`;
  const range = rangeWords(value);
  const instructionOffset =
    one.step !== undefined && one.step.instruction.opcode !== 0x85 ? one.step.instruction.offset : 0;
  const largest = limit - size - value.offset - instructionOffset;
  const count = negative ? "N" : String(elementCount(one, used, largest));
  const artefact = artefactOf(one, used, indexIn(place) ?? "i", count);
  const wrong = negative
    ? `may be negative: the offset is ${range}`
    : `is too large: the offset may be ${range}, and ${size} byte${size === 1 ? "" : "s"} are accessed there, but the ${region} has ${limit} bytes`;
  return {
    cause: `${number} ${wrong}.${cameFrom(one, used)}${boundedBy(one, used)}${artefact?.text ?? ""}`,
    missing: negative
      ? "an unsigned number, or a comparison that excludes negative values too"
      : `a proof that the offset is at most ${Math.max(0, largest)}, right before ${place === undefined || place.line === 0 ? "the access" : `line ${place.line}`}`,
    code: artefact?.code ?? indexCheck(one, negative ? [] : used, negative ? -1 : largest),
    where: artefact?.where ?? place,
    ...(artefact?.artefact === undefined ? {} : { artefact: artefact.artefact }),
  };
}

/** A call whose length may be larger than the memory: the register behind the pointer. */
function lengthOf(one: Case, size: number): Cause | undefined {
  const { subject, step, path, place, complaint } = one;
  if (step === undefined) return undefined;
  const frame = step.state.frames.length - 1;
  const candidates = subject?.kind === "register" ? [subject.regno + 1] : [2, 3, 4, 5];
  const regno = candidates.find((number) => {
    const found = valueAt(step.state, register(frame, number));
    return found !== undefined && !found.pointer && found.value.umax === BigInt(size);
  });
  if (regno === undefined) return undefined;
  const location = register(frame, regno);
  const value = valueAt(step.state, location);
  if (value === undefined) return undefined;
  const origin = originOf(path, one.at, location);
  const name = argumentText(place, regno) ?? "length";
  const limit = complaint.groups["limit"] ?? "N";
  return {
    cause:
      `The length in ${locationName(location)} may be ${rangeWords(value)}, and the memory that is passed with it has ${limit} bytes.` +
      cameFrom(one, origin) +
      boundedBy(one, origin),
    missing: `a proof that the length is at most ${limit}, right before ${place === undefined || place.line === 0 ? "the call" : `line ${place.line}`}`,
    code: `if (${name} > ${limit})\n    ${giveUp(one)}`,
    where: place,
  };
}

/** A length that a helper is given. */
export function lengthArgument(one: Case): Cause {
  const { value, subject, origin, complaint } = one;
  const name = subject === undefined ? "The length" : `The length in ${locationName(subject)}`;
  const number = subject?.kind === "register" ? subject.regno : 2;
  const length = argumentIn(one.place, number) ?? "len";
  const buffer = argumentIn(one.place, number - 1) ?? "buf";
  const artefact = artefactOf(one, origin, length, `sizeof(${buffer}) + 1`);
  const range = value === undefined ? "any value" : rangeWords(value);
  const zero = complaint.rule?.cause === "zero_size";
  const negative = complaint.rule?.cause === "negative_size";
  const why = zero
    ? `may be 0 (${range}), and this helper must be given at least one byte`
    : negative
      ? `may be negative (${range})`
      : `has no useful bound (${range})`;
  return {
    cause: `${name} ${why}.${cameFrom(one, origin)}${boundedBy(one, origin)}${artefact?.text ?? ""}`,
    missing: zero
      ? "a comparison that excludes 0"
      : "bounds for the length on both sides before the call: at least 0, and no more than the buffer has",
    code:
      artefact?.code ??
      (zero
        ? `if (${length} == 0 || ${length} > sizeof(${buffer}))\n    ${giveUp(one)}`
        : `__u32 ${length} = ...;   /* unsigned */\nif (${length} > sizeof(${buffer}))\n    ${giveUp(one)}\n/* or, for a size that is a power of two: ${length} &= sizeof(${buffer}) - 1; */`),
    where: artefact?.where ?? one.place,
    ...(artefact?.artefact === undefined ? {} : { artefact: artefact.artefact }),
  };
}

/** Arithmetic on a pointer with a number that may be anything. */
export function pointerMath(one: Case): Cause {
  const { step, path } = one;
  let added: Added | undefined;
  if (step !== undefined) {
    const { dst, src, opcode } = step.instruction;
    const frame = step.state.frames.length - 1;
    for (const location of (opcode & 8) === 0
      ? [register(frame, dst)]
      : [register(frame, src), register(frame, dst)]) {
      const value = valueAt(step.state, location);
      if (value !== undefined && !value.pointer) {
        added = { value, location, origin: originOf(path, one.at, location) };
        break;
      }
    }
  }
  const artefact =
    added === undefined ? undefined : artefactOf(one, added.origin, indexIn(one.place) ?? "i", "N");
  const number = added === undefined ? "The number" : `The number in ${locationName(added.location)}`;
  const range = added === undefined ? "" : ` (${rangeWords(added.value)})`;
  return {
    cause:
      `${number}${range} may not be added to this pointer: the sum could lie anywhere.` +
      `${added === undefined ? "" : cameFrom(one, added.origin) + callbackArgument(one, added.origin) + boundedBy(one, added.origin)}${artefact?.text ?? ""}`,
    missing: "bounds for the number before it is added: an unsigned type and a comparison, or a mask",
    code: artefact?.code ?? mathCheck(one),
    where: artefact?.where ?? one.place,
    ...(artefact?.artefact === undefined ? {} : { artefact: artefact.artefact }),
  };
}

function mathCheck(one: Case): string {
  const element = elementIn(one.place);
  return element === undefined
    ? `__u32 i = ...;           /* unsigned */\nif (i >= N)\n    ${giveUp(one)}`
    : `if (${element.index} >= sizeof(${element.array}) / sizeof(${element.array}[0]))\n    ${giveUp(one)}`;
}

/** What a callback is called with is any number to the verifier, though the caller counts. */
function callbackArgument(one: Case, origin: readonly OriginEvent[]): string {
  const first = origin[0];
  const deep = (one.step?.state.frames.length ?? 1) > 1;
  if (!deep || first === undefined || (first.kind !== "argument" && first.kind !== "entry")) return "";
  return " It is an argument of the function: of a callback's index the verifier knows nothing, however many rounds bpf_loop() is asked for.";
}

/** An argument that must be a constant. */
export function constantArgument(one: Case): Cause {
  return {
    cause: `This argument must be a constant that the verifier knows, and it may be ${one.value === undefined ? "anything" : rangeWords(one.value)}.${cameFrom(one, one.origin)}`,
    missing:
      "a constant: a literal, or a constant variable that is set before loading (const volatile in .rodata)",
    code: "struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);",
    where: one.place,
  };
}
