/**
 * Records of tracepoints. Their layout is told by the event's format file, by the structure that the program declares for its
 * context, or by the kernel's `trace_event_raw_` structures, in this order. What stands behind a `__data_loc` field (16 bits
 * offset, 16 bits length) is put after the fixed part.
 */
import { type Btf, type BtfValue, encodeValue, findMember, resolve } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import { lowerValue } from "../objects/index.ts";
import type { EventInput, Word } from "./input.ts";
import { contextStruct } from "./signature.ts";
import { syscallArguments } from "./syscalls.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

type Fields = NonNullable<EventInput["fields"]>;

/** Room behind a record: programs copy more than there is. */
const SLACK = 256;

export const RECORD: Arranger = {
  takes: ["fields", "format", "cookie"],
  arrange(subject, { fields = {}, format }): Arrangement {
    const bytes = format === undefined ? byType(subject, fields) : byFormat(subject, fields, format);
    const context = new Uint8Array(Math.ceil(bytes.length / 8) * 8 + SLACK);
    context.set(bytes);
    return { context };
  },
};

/** A fixed part and what follows it. */
class Growing {
  readonly #parts: Uint8Array[] = [];
  #length: number;

  constructor(fixed: number) {
    this.#length = fixed;
  }

  /** Where it went: what a `__data_loc` field holds. */
  add(bytes: Uint8Array): number {
    const at = this.#length;
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return at | (bytes.length << 16);
  }

  finish(fixed: Uint8Array): Uint8Array {
    const whole = new Uint8Array(this.#length);
    whole.set(fixed);
    let at = this.#length - this.#parts.reduce((sum, part) => sum + part.length, 0);
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}

const asBytes = (value: Word): Uint8Array | undefined =>
  typeof value === "string"
    ? new TextEncoder().encode(`${value}\0`)
    : value instanceof Uint8Array
      ? value
      : undefined;

function byType(subject: Subject, fields: Fields): Uint8Array {
  const found = recordType(subject);
  if (found === undefined) {
    if (Object.keys(fields).length === 0) return new Uint8Array(64);
    throw new BpfError(
      "context",
      `program '${subject.name}': the layout of '${subject.image.attachTo ?? "its tracepoint"}' is not known; give its format file ({ format }) or the kernel's BTF`,
    );
  }
  const { btf, id } = found;
  const { scratch } = subject;
  const type = resolve(btf, id);
  const growing = new Growing(type.kind === "struct" ? type.size : 0);
  const values: Record<string, BtfValue> = {};
  for (const [name, value] of Object.entries(namedArguments(subject, btf, id, fields))) {
    const dynamic = asBytes(value);
    const relative = findMember(btf, id, `__rel_loc_${name}`);
    if (dynamic !== undefined && findMember(btf, id, `__data_loc_${name}`) !== undefined) {
      values[`__data_loc_${name}`] = growing.add(dynamic);
    } else if (dynamic !== undefined && relative !== undefined) {
      // Counted from the end of the field itself.
      values[`__rel_loc_${name}`] = growing.add(dynamic) - (relative.bitOffset / 8 + 4);
    } else {
      const member = findMember(btf, id, name);
      values[name] =
        member === undefined
          ? (value as BtfValue)
          : (integerFrom(subject, btf, member.type, value) ??
            lowerValue(scratch.memory, btf, member.type, value, scratch.parts));
    }
  }
  return growing.finish(encodeValue(btf, id, values));
}

/** Arguments of system calls are longs in the record; texts and objects become their addresses. */
function integerFrom(subject: Subject, btf: Btf, type: number, value: Word): BtfValue | undefined {
  const { kind } = resolve(btf, type);
  if (
    kind === "int" &&
    typeof value !== "number" &&
    typeof value !== "bigint" &&
    typeof value !== "boolean"
  ) {
    return subject.scratch.word(value, subject.name, "field");
  }
  if (kind !== "array" || !Array.isArray(value)) return undefined;
  const element = resolve(btf, (resolve(btf, type) as { type: number }).type);
  const length = (resolve(btf, type) as { length: number }).length;
  if (element.kind !== "int") return undefined;
  const bits = element.size * 8;
  const words = (value as readonly Word[]).map((one): bigint => {
    const word = subject.scratch.word(one, subject.name, "field");
    return element.signed ? BigInt.asIntN(bits, word) : BigInt.asUintN(bits, word);
  });
  while (words.length < length) words.push(0n);
  return words;
}

/** `{ filename, flags }` of sys_enter_openat as the `args` of its record. */
function namedArguments({ image }: Subject, btf: Btf, id: number, fields: Fields): Fields {
  const call = /sys_enter_(\w+)$/.exec(image.attachTo ?? "")?.[1];
  const names = call === undefined ? undefined : syscallArguments(call);
  if (names === undefined || !Object.keys(fields).some((name) => names.includes(name))) return fields;
  if (findMember(btf, id, "args") === undefined) return fields;
  const rest = Object.entries(fields).filter(([name]) => !names.includes(name));
  return { ...Object.fromEntries(rest), args: names.map((name) => fields[name] ?? 0) };
}

/** The structure of the record: the program's own declaration, in the kernel's form if it has one, or the kernel's. */
function recordType(subject: Subject): { btf: Btf; id: number } | undefined {
  const { image, types } = subject;
  const event = image.attachTo?.split("/").at(-1) ?? "";
  const declared = image.ownTypes === undefined ? undefined : contextStruct(image.ownTypes, image.name)?.name;
  const names = [declared, `trace_event_raw_${event}`];
  if (/^sys_(enter|exit)_/.test(event)) names.push(`trace_event_raw_${event.split("_", 2).join("_")}`);
  for (const name of names) {
    if (name === undefined) continue;
    for (const btf of types) {
      const [type] = btf.find(name, "struct");
      if (type !== undefined) return { btf, id: type.id };
    }
  }
  return undefined;
}

interface FormatField {
  readonly name: string;
  readonly declaration: string;
  readonly offset: number;
  readonly size: number;
}

/** The lines of a format file: `field:pid_t pid; offset:24; size:4; signed:1;`. */
function parseFormat(subject: Subject, text: string): FormatField[] {
  const fields = [...text.matchAll(/field:([^;]+);\s*offset:(\d+);\s*size:(\d+);/g)].map(
    ([, declaration = "", offset, size]): FormatField => ({
      name: /(\w+)(\[[^\]]*\])?$/.exec(declaration.trim())?.[1] ?? "",
      declaration,
      offset: Number(offset),
      size: Number(size),
    }),
  );
  if (fields.length > 0) return fields;
  throw new BpfError(
    "context",
    `program '${subject.name}': the format has no line such as "field:int pid; offset:8; size:4;"`,
  );
}

function byFormat(subject: Subject, fields: Fields, text: string): Uint8Array {
  const known = parseFormat(subject, text);
  const size = Math.max(...known.map((field) => field.offset + field.size));
  const fixed = new Uint8Array(size);
  const view = new DataView(fixed.buffer);
  const growing = new Growing(size);
  for (const [name, value] of Object.entries(fields)) {
    const field = known.find((row) => row.name === name);
    if (field === undefined) {
      throw new BpfError(
        "context",
        `program '${subject.name}': no field '${name}'; its record has ${known.map((row) => row.name).join(", ")}`,
      );
    }
    const bytes = asBytes(value);
    if (bytes !== undefined && field.declaration.startsWith("__data_loc")) {
      view.setUint32(field.offset, growing.add(bytes), true);
    } else if (bytes !== undefined && /\[\d+\]$/.test(field.declaration)) {
      fixed.set(bytes.subarray(0, field.size), field.offset);
    } else {
      putNumbers(subject, view, field, value);
    }
  }
  return growing.finish(fixed);
}

/** A number, or those of an array. */
function putNumbers(subject: Subject, view: DataView, field: FormatField, value: Word): void {
  const values = Array.isArray(value) ? (value as readonly Word[]) : [value];
  const width = Array.isArray(value) ? arrayWidth(field, values.length) : field.size;
  values.forEach((one, index) => {
    const word = subject.scratch.word(one, subject.name, field.name);
    for (let byte = 0; byte < Math.min(width, 8); byte++) {
      const at = field.offset + index * width + byte;
      if (at < field.offset + field.size) view.setUint8(at, Number((word >> BigInt(8 * byte)) & 255n));
    }
  });
}

function arrayWidth({ declaration, size }: FormatField, given: number): number {
  const length = Number(/\[(\d+)\]$/.exec(declaration)?.[1] ?? given);
  return Math.max(1, Math.floor(size / length));
}
