import {
  type Btf,
  type BtfType,
  type BtfValue,
  decodeValue,
  encodeValue,
  findMember,
  resolve,
} from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import type { LinearMemory } from "../memory.ts";
import { type ObjectValue, lowerValue } from "./lower.ts";

/**
 * A structure of the kernel in a machine's memory, made by `machine.alloc`. Where a pointer is wanted (a member, an argument
 * of a function, a register) it stands for its address.
 */
export class KernelObject {
  /** Where it lies. As a BPF pointer: the address with 32 zero bits above it. */
  readonly address: number;
  readonly size: number;
  /** "task_struct". */
  readonly type: string;
  readonly btf: Btf;
  /** Id of its type in `btf`. */
  readonly typeId: number;
  readonly #memory: LinearMemory;
  /** What was laid out with it: texts, inner objects. */
  readonly #parts: number[];
  #freed = false;

  constructor(
    memory: LinearMemory,
    btf: Btf,
    typeId: number,
    address: number,
    size: number,
    parts: number[],
  ) {
    this.#memory = memory;
    this.btf = btf;
    this.typeId = typeId;
    this.type = btf.type(typeId).name;
    this.address = address;
    this.size = size;
    this.#parts = parts;
  }

  /** Whether the type has a member of that name. */
  has(name: string): boolean {
    return findMember(this.btf, this.typeId, name) !== undefined;
  }

  /** Bytes from its start to a member, undefined if there is none of that name. */
  offsetOf(name: string): number | undefined {
    const member = findMember(this.btf, this.typeId, name);
    return member === undefined ? undefined : Math.floor(member.bitOffset / 8);
  }

  /** The whole value, as the program left it: members by name, pointers as bigint. */
  get(): BtfValue {
    return decodeValue(this.btf, this.typeId, this.bytes());
  }

  /**
   * One member, or a member of members: "cred.uid.val" goes through pointers to what they point to.
   *
   * @throws BpfError code "btf" if there is no such member or nothing where a pointer points.
   * @example
   * task.member("real_parent.pid"); // 1
   */
  member(path: string): BtfValue {
    let type = this.typeId;
    let address = this.address;
    const names = path.split(".");
    for (const [index, name] of names.entries()) {
      const member = findMember(this.btf, type, name);
      if (member === undefined) throw noMember(this.btf, type, name);
      const last = index === names.length - 1;
      const target = resolve(this.btf, member.type);
      if (last) return this.#memberOf(type, address, name);
      address += member.bitOffset / 8;
      type = member.type;
      if (target.kind !== "ptr") continue;
      const pointer = this.#memory.u64(address);
      if (pointer === 0n || pointer > 0xffffffffn) {
        throw new BpfError("btf", `${this.type}: ${names.slice(0, index + 1).join(".")} points nowhere`);
      }
      address = Number(pointer);
      type = target.type;
    }
    throw noMember(this.btf, type, path);
  }

  #memberOf(type: number, address: number, name: string): BtfValue {
    const owner = resolve(this.btf, type);
    const size = owner.kind === "struct" || owner.kind === "union" ? owner.size : 0;
    const value = decodeValue(this.btf, type, this.#memory.read(address, size));
    return (value as Readonly<Record<string, BtfValue>>)[name] as BtfValue;
  }

  /**
   * Changes members; the others stay.
   *
   * @throws BpfError code "btf" as {@link encodeValue} does.
   * @example
   * task.set({ comm: "nginx", real_parent: init });
   */
  set(values: Readonly<Record<string, ObjectValue>>): this {
    for (const [name, value] of Object.entries(values)) {
      const lowered = lowerValue(this.#memory, this.btf, this.typeId, { [name]: value }, this.#parts);
      const bytes = encodeValue(this.btf, this.typeId, lowered);
      const { first, mask } = this.#place(name);
      mask.forEach((bits, index) => {
        const at = this.address + first + index;
        const { u8 } = this.#memory;
        u8[at] = ((u8[at] as number) & ~bits) | ((bytes[first + index] as number) & bits);
      });
    }
    return this;
  }

  /** Which bits a member takes. */
  #place(name: string): { first: number; mask: Uint8Array } {
    const member = findMember(this.btf, this.typeId, name);
    if (member === undefined) throw noMember(this.btf, this.typeId, name);
    const { bitOffset, bitSize, type } = member;
    const target = resolve(this.btf, type);
    if (bitSize === 0) {
      const size = encodeValue(this.btf, type, zeroOf(target)).length;
      return { first: bitOffset / 8, mask: new Uint8Array(size).fill(255) };
    }
    const ones = "signed" in target && target.signed ? -1n : (1n << BigInt(bitSize)) - 1n;
    const whole = encodeValue(this.btf, this.typeId, { [name]: ones });
    const first = Math.floor(bitOffset / 8);
    return { first, mask: whole.subarray(first, Math.ceil((bitOffset + bitSize) / 8)) };
  }

  /** A copy of its bytes. */
  bytes(): Uint8Array {
    return this.#memory.read(this.address, this.size);
  }

  /** Gives its memory back, and that of what was laid out with it. It must not be used any more. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    for (const address of [this.address, ...this.#parts]) this.#memory.takeBack(address);
  }
}

/** A value of which every byte is zero. */
function zeroOf(type: BtfType): BtfValue {
  switch (type.kind) {
    case "struct":
    case "union":
      return {};
    case "array":
      return type.length === 0 ? [] : "";
    default:
      return 0;
  }
}

function noMember(btf: Btf, type: number, name: string): BpfError {
  return new BpfError("btf", `${resolve(btf, type).name || "type"}: has no member '${name}'`);
}
