/**
 * Values as the kernel prints them for bpf_snprintf_btf and bpf_seq_printf_btf: C with designated initialisers, in which
 * members that are zero are left out (kernel/bpf/btf.c, btf_type_show). Its oddities are part of the format:
 *
 * - What is printed follows from a state, not from the position: inside of an array neither types nor member names are
 *   printed until the innermost array ends.
 * - A structure or array inside of another one is gone through twice, first to see whether it has anything to show.
 * - Elements of arrays of pointers and of arrays have no size of their own: each shows the first one.
 * - An enumerator is shown even if its value is 0.
 */
import type { Btf } from "../btf.ts";
import { POINTER_SIZE, resolve, sizeOf } from "../resolve.ts";
import {
  BTF_KINDS,
  type BtfArray,
  type BtfComposite,
  type BtfEnum,
  type BtfInt,
  type BtfMember,
  type BtfType,
} from "../types.ts";

/** BTF_F_ flags of uapi/linux/bpf.h. */
export const SHOW_FLAGS = { compact: 1, noName: 2, rawPointers: 4, zeros: 8 } as const;

/** What is read and how addresses are written. */
export interface ShowSource {
  /** Bytes of the value from an offset on; undefined if they cannot be read, which ends the text. */
  bytes(offset: number, length: number): Uint8Array | undefined;
  /** 16 hexadecimal digits: those of the address, or what hides it. */
  pointer(value: bigint): string;
}

/** struct btf_show's name[80], the NUL included. */
const NAME_LIMIT = 79;
const MAX_INDENT = 32;
/** How many typedefs, pointers and arrays a name goes through. */
const MAX_STEPS = 10;

class Unreadable extends Error {}

/**
 * The text of a value of a type.
 *
 * @returns undefined if a part of it cannot be read.
 */
export function showValue(btf: Btf, type: number, flags: number, source: ShowSource): string | undefined {
  const show = new Show(btf, type, flags, source);
  try {
    show.value(btf.type(type), type, 0, 0);
    return show.text;
  } catch (error) {
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}

class Show {
  text = "";
  readonly #btf: Btf;
  readonly #flags: number;
  readonly #source: ShowSource;
  /** Bytes of the whole value. */
  readonly #size: number;
  #depth = 0;
  /** While a part is looked through for something to show: the depth at which that began, and how deep something was found. */
  #checkDepth = 0;
  #shownDepth = 0;
  #inArray = false;
  #characters = false;
  #terminated = false;
  #member: BtfMember | undefined;
  #type: BtfType | undefined;
  #typeId = 0;

  constructor(btf: Btf, type: number, flags: number, source: ShowSource) {
    this.#size = hasSize(btf, type) ? sizeOf(btf, type) : POINTER_SIZE;
    this.#btf = btf;
    this.#flags = flags;
    this.#source = source;
  }

  get #compact(): boolean {
    return (this.#flags & SHOW_FLAGS.compact) !== 0;
  }

  #read(offset: number, length: number): Uint8Array {
    const bytes = this.#source.bytes(offset, length);
    if (bytes === undefined) throw new Unreadable();
    return bytes;
  }

  #print(text: string): void {
    if (this.#checkDepth === 0) this.text += text;
  }

  get #indent(): string {
    return this.#compact ? "" : " ".repeat(Math.min(this.#depth, MAX_INDENT));
  }

  get #newline(): string {
    return this.#compact ? "" : "\n";
  }

  get #delimiter(): string {
    if (this.#depth === 0) return "";
    return this.#compact && this.#type?.kind === "union" ? "|" : ",";
  }

  /** `.member = (struct name){`, as far as it applies. */
  #name(): string {
    if (this.#inArray) return "";
    const member = this.#member?.name ?? "";
    let type = this.#btf.type(this.#member?.type ?? this.#typeId);
    let name: string | undefined;
    let [pointers, arrays, parens] = ["", "", ""];
    let typedef = false;
    for (let step = 0; ; step++) {
      if (step === MAX_STEPS) return "";
      if (type.kind === "typedef") {
        name ??= type.name;
        typedef = true;
      } else if (type.kind === "array") {
        parens = "[";
        arrays += "[]";
      } else if (type.kind === "ptr") pointers += "*";
      else break;
      if (type.type === 0) break;
      type = this.#withoutQualifiers(type.type);
    }
    // A pointer to void keeps the pointer's own, empty name.
    name ??= type.kind === "ptr" ? "" : type.name;
    const composite = type.kind === "struct" || type.kind === "union";
    if (composite && arrays === "") parens = "{";
    if (pointers !== "") parens = "";
    if ((this.#flags & SHOW_FLAGS.noName) !== 0) return parens;
    const prefix = typedef ? "" : composite ? type.kind : type.kind.startsWith("enum") ? "enum" : "";
    const space = prefix !== "" && name !== "" ? " " : "";
    const stars = pointers === "" ? "" : ` ${pointers}`;
    const before = member === "" ? "" : `.${member} = `;
    return `${before}(${prefix}${space}${name}${stars}${arrays})${parens}`.slice(0, NAME_LIMIT);
  }

  #withoutQualifiers(id: number): BtfType {
    let type = this.#btf.type(id);
    while (
      type.kind === "const" ||
      type.kind === "volatile" ||
      type.kind === "restrict" ||
      type.kind === "type_tag"
    )
      type = this.#btf.type(type.type);
    return type;
  }

  #start(type: BtfType, id: number): void {
    this.#type = type;
    this.#typeId = id;
  }

  #end(): void {
    this.#type = undefined;
    this.#typeId = 0;
  }

  #scalar(text: string, isZero: boolean): void {
    if (isZero && (this.#flags & SHOW_FLAGS.zeros) === 0 && this.#depth !== 0) return;
    this.#print(`${this.#indent}${this.#name()}${text}${this.#delimiter}${this.#newline}`);
    this.#shownDepth = Math.max(this.#shownDepth, this.#depth);
  }

  /** A value `bit` bits behind an offset. */
  value(type: BtfType, id: number, offset: number, bit: number): void {
    switch (type.kind) {
      case "typedef":
      case "const":
      case "volatile":
      case "restrict":
      case "type_tag":
        this.value(resolve(this.#btf, id), id, offset, bit);
        return;
      case "var":
        this.value(resolve(this.#btf, type.type), type.type, offset, bit);
        return;
      case "int":
        this.#start(type, id);
        this.#integer(type, offset, bit);
        this.#end();
        return;
      case "ptr": {
        this.#start(type, id);
        const value = littleEndian(this.#read(offset, 8));
        const raw = (this.#flags & SHOW_FLAGS.rawPointers) !== 0;
        const digits = raw ? value.toString(16).padStart(16, "0") : this.#source.pointer(value);
        this.#scalar(`0x${digits}`, value === 0n);
        this.#end();
        return;
      }
      case "enum":
      case "enum64":
        this.#start(type, id);
        this.#enumerator(type, offset);
        this.#end();
        return;
      case "array":
      case "struct":
      case "union":
        this.#aggregate(type, id, offset, bit);
        return;
      case "datasec":
        this.#start(type, id);
        this.#scalar(`section ("${type.name}") = {`, false);
        type.variables.forEach((variable, index) => {
          if (index > 0) this.#print(",");
          this.value(this.#btf.type(variable.type), variable.type, offset + variable.offset, bit);
        });
        this.#end();
        return;
      default:
        this.#print(`<unsupported kind:${BTF_KINDS.find(({ name }) => name === type.kind)?.id ?? 0}>`);
    }
  }

  /** Inside of another one it is looked through first. */
  #aggregate(type: BtfArray | BtfComposite, id: number, offset: number, bit: number): void {
    const parts = (): void => {
      if (type.kind === "array") this.#elements(type, id, offset, bit);
      else this.#members(type, id, offset);
    };
    if (this.#depth > 0 && (this.#flags & SHOW_FLAGS.zeros) === 0) {
      const member = this.#member;
      if (this.#checkDepth === 0) {
        this.#checkDepth = this.#depth + 1;
        this.#shownDepth = 0;
      }
      parts();
      this.#member = member;
      if (this.#checkDepth !== this.#depth + 1) return;
      this.#checkDepth = 0;
      if (this.#shownDepth <= this.#depth) return;
    }
    parts();
  }

  #open(type: BtfType, id: number, offset: number, size: number): void {
    this.#start(type, id);
    this.#read(offset, Math.min(size, 1));
    this.#print(`${this.#indent}${this.#name()}${this.#newline}`);
    this.#depth++;
  }

  #close(bracket: string): void {
    this.#depth--;
    this.#print(`${this.#indent}${bracket}${this.#delimiter}${this.#newline}`);
    this.#end();
  }

  #elements(type: BtfArray, id: number, offset: number, bit: number): void {
    const element = resolve(this.#btf, type.type);
    const size = "size" in element ? element.size : 0;
    this.#characters = element.kind === "int" && (size === 1 || element.char);
    this.#terminated = false;
    this.#open(type, id, offset, size);
    for (let index = 0; index < type.length; index++) {
      this.#inArray = true;
      this.#member = undefined;
      this.value(element, type.type, offset + index * size, bit);
      this.#inArray = false;
      this.#member = undefined;
      if (this.#terminated) break;
    }
    this.#characters = false;
    this.#terminated = false;
    this.#close("]");
  }

  #members(type: BtfComposite, id: number, offset: number): void {
    this.#open(type, id, offset, type.size);
    for (const member of type.members) {
      this.#member = member;
      const at = offset + (member.bitOffset >>> 3);
      const bit = member.bitOffset & 7;
      const own = this.#btf.type(member.type);
      if (member.bitSize === 0) this.value(own, member.type, at, bit);
      else {
        this.#start(own, member.type);
        this.#bits(at, bit, member.bitSize);
        this.#end();
      }
      this.#member = undefined;
    }
    this.#close("}");
  }

  #bits(offset: number, bit: number, bits: number): void {
    const bytes = this.#read(offset, Math.ceil((bit + bits) / 8));
    this.#hexadecimal(BigInt.asUintN(bits, littleEndian(bytes) >> BigInt(bit)));
  }

  /** More than 64 bits are shown even if they are what is left out otherwise: they are not 0. */
  #hexadecimal(value: bigint): void {
    this.#scalar(`0x${value.toString(16)}`, value === 0n);
  }

  #integer(type: BtfInt, offset: number, bit: number): void {
    const { bits, bitOffset, signed } = type;
    if (bit !== 0 || bitOffset !== 0 || ![8, 16, 32, 64, 128].includes(bits)) {
      const at = bit + bitOffset;
      this.#bits(offset + (at >>> 3), at & 7, bits);
      return;
    }
    const value = littleEndian(this.#read(offset, bits / 8));
    if (bits === 128) {
      this.#hexadecimal(value);
      return;
    }
    if (bits === 8 && this.#characters) {
      if (this.#terminated) return;
      if (value === 0n) {
        this.#terminated = true;
        return;
      }
      if (isPrintable(Number(value))) {
        this.#scalar(`'${String.fromCharCode(Number(value))}'`, false);
        return;
      }
    }
    this.#scalar(String(signed ? BigInt.asIntN(bits, value) : value), value === 0n);
  }

  #enumerator({ kind, signed, values }: BtfEnum, offset: number): void {
    // The kernel reads an int, or 64 bits, whatever the enumeration's own size is, as far as the whole value goes.
    const bits = kind === "enum64" ? 64 : 32;
    const raw = littleEndian(this.#read(offset, Math.max(1, Math.min(bits / 8, this.#size - offset))));
    const value = signed ? BigInt.asIntN(bits, raw) : raw;
    const known = values.find((one) => BigInt.asUintN(bits, one.value) === BigInt.asUintN(bits, raw));
    this.#scalar(known?.name ?? String(value), known === undefined && value === 0n);
  }
}

function hasSize(btf: Btf, type: number): boolean {
  const { kind } = resolve(btf, type);
  return !["void", "fwd", "func", "func_proto"].includes(kind);
}

/** As the kernel's isprint: Latin-1, in which 0xa0 and up can be printed (lib/ctype.c). */
const isPrintable = (code: number): boolean => (code >= 32 && code < 127) || code >= 160;

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let at = bytes.length - 1; at >= 0; at--) value = (value << 8n) | BigInt(bytes[at] as number);
  return value;
}
