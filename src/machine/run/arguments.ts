/** Contexts that are arrays of arguments: of kernel functions, tracepoints, LSM hooks, iterators and methods. */
import { type Btf, encodeValue, resolve, sizeOf } from "../../btf/index.ts";
import { lowerValue } from "../objects/index.ts";
import type { Arguments, EventInput, Word } from "./input.ts";
import { inOrder } from "./registers.ts";
import { type Signature, signatureOf } from "./signature.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

const EIGHT = 8;

/** The bytes of an argument: its value in a register, or the words of a structure that is passed by value. */
function argumentBytes(
  subject: Subject,
  btf: Btf | undefined,
  type: number,
  value: Word,
  what: string,
): Uint8Array {
  const word = new Uint8Array(EIGHT);
  const put = (number: bigint): Uint8Array => {
    new DataView(word.buffer).setBigUint64(0, BigInt.asUintN(64, number), true);
    return word;
  };
  const { scratch } = subject;
  if (btf === undefined || type === 0) return put(scratch.word(value, subject.name, what));
  const target = resolve(btf, type);
  const pointer = target.kind === "ptr";
  if (pointer && typeof value === "number") return put(scratch.word(value, subject.name, what));
  const lowered = lowerValue(scratch.memory, btf, type, value, scratch.parts);
  if (typeof lowered === "number" || typeof lowered === "bigint" || typeof lowered === "boolean") {
    // Upper halves of registers are zero after operations of 32 bits: a negative int is no negative long.
    const bits = pointer ? 64 : sizeOf(btf, type) * 8;
    return put(BigInt.asUintN(Math.min(64, bits), BigInt(lowered)));
  }
  const bytes = encodeValue(btf, type, lowered);
  const whole = new Uint8Array(Math.ceil(bytes.length / EIGHT) * EIGHT);
  whole.set(bytes);
  return whole;
}

function layOut(subject: Subject, input: EventInput, signature: Signature | undefined): Uint8Array {
  const { args = [], ret } = input;
  const parts: Uint8Array[] = [];
  const words = inOrder(subject, args as Arguments);
  const count = Math.max(words.length, signature?.parameters.length ?? 0);
  for (let index = 0; index < count; index++) {
    const parameter = signature?.parameters[index];
    const what = parameter?.name ?? "argument";
    // An iterator's meta is there at every element.
    const given = words[index] ?? 0;
    const value =
      given === 0 && subject.attach === "trace_iter" && parameter?.name === "meta"
        ? new Uint8Array(24)
        : given;
    parts.push(argumentBytes(subject, signature?.btf, parameter?.type ?? 0, value, what));
  }
  subject.state.arguments = parts.reduce((sum, part) => sum + part.length / EIGHT, 0);
  // What the function has returned follows its arguments (fexit, fmod_ret, LSM).
  const what = "ret";
  parts.push(argumentBytes(subject, signature?.btf, signature?.result ?? 0, ret ?? 0, what));
  // The kernel's own array of a raw tracepoint has room for 12.
  const size = Math.max(
    12 * EIGHT,
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  const context = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    context.set(part, at);
    at += part.length;
  }
  return context;
}

export const ARGUMENTS: Arranger = {
  takes: ["args", "ret", "cookie"],
  arrange(subject, input): Arrangement {
    return { context: layOut(subject, input, signatureOf(subject)) };
  },
};
