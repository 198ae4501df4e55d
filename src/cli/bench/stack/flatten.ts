/**
 * A WebAssembly function as a list of slots of 8 bytes for the stack interpreter: opcode and a 32-bit operand. Structured
 * control flow becomes branches to offsets in the list. Reads as much of the format as the classic programs need
 * (WebAssembly Core Specification 2.0, chapter 5), and refuses the rest.
 */
import { BpfError } from "../../../errors.ts";

/** What the opcodes without control flow take from the stack and leave on it. */
const EFFECTS: Readonly<Record<number, readonly [pops: number, pushes: number]>> = {
  0x1a: [1, 0],
  0x1b: [3, 1],
  0x20: [0, 1],
  0x21: [1, 0],
  0x22: [1, 1],
  0x28: [1, 1],
  0x2d: [1, 1],
  0x31: [1, 1],
  0x36: [2, 0],
  0x3a: [2, 0],
  0x41: [0, 1],
  0x42: [0, 1],
  0x45: [1, 1],
  0x50: [1, 1],
  0xa7: [1, 1],
  0xad: [1, 1],
};

const BINARY = (opcode: number): boolean =>
  (opcode >= 0x46 && opcode <= 0x4f) ||
  (opcode >= 0x51 && opcode <= 0x5a) ||
  (opcode >= 0x6a && opcode <= 0x8a);

/** What an opcode takes from the stack and leaves on it; of branches what they take. */
export function effectOf(opcode: number): readonly [pops: number, pushes: number] {
  if (BINARY(opcode)) return [2, 1];
  if (opcode === LONG_CONSTANT) return [0, 1];
  if (opcode === BR_IF || opcode === BR_TABLE || opcode === RETURN) return [1, 0];
  return EFFECTS[opcode] ?? [0, 0];
}

export const LONG_CONSTANT = 0xfe;
const BR_IF = 0x0d;
const BR_TABLE = 0x0e;
const RETURN = 0x0f;

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  get done(): boolean {
    return this.at >= this.#bytes.length;
  }
  byte(): number {
    return this.#bytes[this.at++] as number;
  }
  /** LEB128, as far as a bigint is needed. */
  leb(signed: boolean): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return signed ? BigInt.asIntN(Number(shift) + 7, value) : value;
    }
  }
  number(): number {
    return Number(this.leb(false));
  }
  take(length: number): Uint8Array {
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }
}

export interface FlatFunction {
  readonly slots: Uint8Array;
  /** Bytes that the function takes in the module. */
  readonly encodedBytes: number;
}

/** The exported functions of a module, by name. */
export function flattenModule(module: Uint8Array): Record<string, FlatFunction> {
  const reader = new Reader(module.subarray(8));
  const exported: { name: string; index: number }[] = [];
  const bodies: Uint8Array[] = [];
  while (!reader.done) {
    const id = reader.byte();
    const section = new Reader(reader.take(reader.number()));
    if (id === 7) {
      for (let count = section.number(); count > 0; count--) {
        const name = new TextDecoder().decode(section.take(section.number()));
        const kind = section.byte();
        const index = section.number();
        if (kind === 0) exported.push({ name, index });
      }
    } else if (id === 10) {
      for (let count = section.number(); count > 0; count--) bodies.push(section.take(section.number()));
    }
  }
  return Object.fromEntries(
    exported.map(({ name, index }) => {
      const body = bodies[index] as Uint8Array;
      return [name, { slots: flatten(name, body), encodedBytes: body.length }];
    }),
  );
}

interface Construct {
  /** Of loops: where branches go. Of blocks: the slots that must learn where the end is. */
  readonly start: number | undefined;
  readonly waiting: number[];
  readonly height: number;
}

function flatten(name: string, body: Uint8Array): Uint8Array {
  const reader = new Reader(body);
  for (let groups = reader.number(); groups > 0; groups--) {
    reader.number();
    reader.byte();
  }
  const operations: number[] = [];
  const operands: bigint[] = [];
  const emit = (opcode: number, operand: bigint | number = 0): void => {
    operations.push(opcode);
    operands.push(BigInt(operand));
  };
  const refuse = (what: string): BpfError => new BpfError("unsupported", `function '${name}': ${what}`);
  const open: Construct[] = [{ start: undefined, waiting: [], height: 0 }];
  let height = 0;
  let reachable = true;
  const branch = (opcode: number, depth: number): void => {
    const target = open[open.length - 1 - depth] as Construct;
    if (open.length - 1 - depth === 0) throw refuse("a branch out of the function");
    if (reachable && target.height !== height) throw refuse("a branch that leaves values on the stack");
    if (target.start === undefined) target.waiting.push(operations.length);
    emit(opcode, target.start === undefined ? 0 : target.start * 8);
  };
  while (!reader.done) {
    const opcode = reader.byte();
    switch (opcode) {
      case 0x02:
      case 0x03:
        if (reader.byte() !== 0x40) throw refuse("a block with a result");
        open.push({ start: opcode === 0x03 ? operations.length : undefined, waiting: [], height });
        break;
      case 0x0b: {
        const { waiting, height: before } = open.pop() as Construct;
        for (const slot of waiting) operands[slot] = BigInt(operations.length * 8);
        if (open.length === 0) emit(RETURN);
        else height = before;
        reachable = true;
        break;
      }
      case 0x0c:
        branch(opcode, reader.number());
        reachable = false;
        break;
      case BR_IF:
        height--;
        branch(opcode, reader.number());
        break;
      case BR_TABLE: {
        height--;
        const count = reader.number();
        emit(opcode, count);
        for (let index = 0; index <= count; index++) branch(0, reader.number());
        reachable = false;
        break;
      }
      case RETURN:
        emit(opcode);
        reachable = false;
        break;
      case 0x20:
      case 0x21:
      case 0x22:
        emit(opcode, reader.number() * 8);
        break;
      case 0x28:
      case 0x2d:
      case 0x31:
      case 0x36:
      case 0x3a:
        reader.number();
        emit(opcode, reader.number());
        break;
      case 0x41:
        emit(opcode, reader.leb(true));
        break;
      case 0x42: {
        const value = reader.leb(true);
        if (BigInt.asIntN(32, value) === value) {
          emit(opcode, value);
        } else {
          emit(LONG_CONSTANT);
          emit(Number(value & 0xffffffffn), value >> 32n);
        }
        break;
      }
      default:
        if (EFFECTS[opcode] === undefined && !BINARY(opcode)) throw refuse(`opcode 0x${opcode.toString(16)}`);
        emit(opcode);
    }
    if (EFFECTS[opcode] !== undefined || BINARY(opcode)) {
      const [pops, pushes] = effectOf(opcode);
      height += pushes - pops;
    }
  }
  const slots = new Uint8Array(operations.length * 8);
  const view = new DataView(slots.buffer);
  operations.forEach((opcode, index) => {
    view.setUint32(8 * index, opcode, true);
    view.setInt32(8 * index + 4, Number(BigInt.asIntN(32, operands[index] as bigint)), true);
  });
  return slots;
}
