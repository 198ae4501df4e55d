/**
 * Graph to classic BPF. The nodes become blocks of code in an order in which each comes before those that it leads to,
 * so what the registers hold when a block begins is known: what they hold at the end of every block that leads to it.
 * A value that a register still holds isn't computed again.
 */
import {
  CBPF_ALU_OPS,
  CBPF_CLASSES,
  CBPF_JUMP_OPS,
  CBPF_MISC_OPS,
  CBPF_MODES,
  CBPF_SCRATCH_CELLS,
  CBPF_SIZES,
  CBPF_SOURCES,
  type CbpfInstruction,
  cbpfStatement,
} from "../cbpf/index.ts";
import { chainCode } from "./emit-chain.ts";
import { type GraphNode, ordered } from "./graph.ts";
import { type Block, link } from "./link.ts";
import { filterError } from "./problem.ts";
import { type Slot, type Value, readsSlot } from "./value.ts";

const { ld, ldx, st, alu, jmp, misc } = CBPF_CLASSES;
const { imm, abs, ind, mem, len, msh } = CBPF_MODES;
const SIZE_BITS = { 1: CBPF_SIZES.b, 2: CBPF_SIZES.h, 4: CBPF_SIZES.w } as const;
const COMMUTES: ReadonlySet<string> = new Set(["add", "mul", "and", "or", "xor"]);

/** What the registers hold, as ids of values: a register can hold several at once, such as a slot and its value. */
interface Registers {
  a: readonly number[];
  x: readonly number[];
}

const common = (a: readonly number[], b: readonly number[]): readonly number[] =>
  a.filter((id) => b.includes(id));

export interface EmitOptions {
  readonly snaplen: number;
}

/** The program of a graph. */
export function emit(root: GraphNode, options: EmitOptions): CbpfInstruction[] {
  // Slots that are never read back from their cells need none; which they are shows at the end of the first run.
  const first = new Emitter(new Set());
  first.run(root);
  const second = new Emitter(first.reads);
  return link(second.run(root), options.snaplen);
}

/** The slot that the cell was made for. */
function firstOf(slot: Slot): Slot {
  return slot.after === undefined ? slot : firstOf(slot.after);
}

class Emitter {
  /** Slots that were read from their cells. */
  readonly reads = new Set<Slot>();
  readonly #needed: ReadonlySet<Slot>;
  readonly #cells = new Map<Slot, number>();
  /** By id, all values that a register may hold. */
  readonly #computed = new Map<number, Value>();
  #temporaries = 0;
  #code: CbpfInstruction[] = [];
  #registers: Registers = { a: [], x: [] };

  constructor(needed: ReadonlySet<Slot>) {
    this.#needed = needed;
  }

  run(root: GraphNode): Block[] {
    const entries = new Map<GraphNode, Registers>([[root, { a: [], x: [] }]]);
    const flow = (to: GraphNode): void => {
      const { a, x } = this.#registers;
      const known = entries.get(to);
      entries.set(to, known === undefined ? { a, x } : { a: common(known.a, a), x: common(known.x, x) });
    };
    return ordered(root).map((node): Block => {
      this.#code = [];
      this.#registers = { ...(entries.get(node) as Registers) };
      switch (node.kind) {
        case "end":
          return { node, code: this.#code, end: { kind: "return", accept: node.accept } };
        case "set":
          this.#set(node.slot, node.value);
          flow(node.next);
          return { node, code: this.#code, end: { kind: "goto", to: node.next } };
        case "touch":
          this.#touch(node.value);
          flow(node.next);
          return { node, code: this.#code, end: { kind: "goto", to: node.next } };
        case "test": {
          const { code, k } = this.#test(node.test);
          flow(node.yes);
          flow(node.no);
          return { node, code: this.#code, end: { kind: "branch", code, k, yes: node.yes, no: node.no } };
        }
      }
    });
  }

  #push(code: number, k = 0): void {
    this.#code.push(cbpfStatement(code, k));
  }

  #cellOf(slot: Slot): number {
    if (slot.after !== undefined) return this.#cellOf(slot.after);
    let cell = this.#cells.get(slot);
    if (cell === undefined) {
      cell = this.#cells.size;
      this.#cells.set(slot, cell);
      this.#checkCells();
    }
    return cell;
  }

  #checkCells(): void {
    if (this.#cells.size + this.#temporaries > CBPF_SCRATCH_CELLS) {
      throw filterError({ start: 0, end: 0 }, "it needs more scratch cells than the machine's 16");
    }
  }

  #set(slot: Slot, value: Value): void {
    const inPlace = value.kind === "slot" && firstOf(slot) === firstOf(value.slot);
    if (inPlace) {
      // The cell has it already, and so has A if it had the other.
      const held = this.#inA(value);
      this.#registers.a = held ? [...this.#registers.a, -1 - slot.id] : this.#registers.a;
      return;
    }
    this.#toA(value);
    if (this.#needed.has(firstOf(slot))) this.#push(st, this.#cellOf(slot));
    // What was computed from the slot's former value is held no more.
    const stale = (key: number): boolean =>
      key === -1 - slot.id || (key >= 0 && readsSlot(this.#computed.get(key) as Value, slot));
    this.#registers.a = this.#registers.a.filter((key) => !stale(key));
    this.#registers.x = this.#registers.x.filter((key) => !stale(key));
    this.#registers.a = [...this.#registers.a, -1 - slot.id];
    if (this.#registers.x.includes(value.id)) this.#registers.x = [...this.#registers.x, -1 - slot.id];
  }

  /** Slots go by negative numbers, for their value may have been held before. */
  #key(value: Value): number {
    if (value.kind === "slot") return -1 - value.slot.id;
    this.#computed.set(value.id, value);
    return value.id;
  }

  #inA(value: Value): boolean {
    return this.#registers.a.includes(this.#key(value));
  }

  #inX(value: Value): boolean {
    return this.#registers.x.includes(this.#key(value));
  }

  #touch(value: Value): void {
    if (value.kind === "header-length") this.#toX(value);
    else this.#toA(value);
  }

  #test(test: Extract<GraphNode, { kind: "test" }>["test"]): { code: number; k: number } {
    if (test.kind === "bits") {
      this.#toA(test.value);
      return { code: jmp | CBPF_JUMP_OPS.jset, k: test.mask };
    }
    if (test.kind === "compare") {
      const op = jmp | CBPF_JUMP_OPS[`j${test.op}`];
      if (test.right.kind === "const") {
        this.#toA(test.left);
        return { code: op, k: test.right.value };
      }
      this.#toAAndX(test.left, test.right);
      return { code: op | CBPF_SOURCES.x, k: 0 };
    }
    if (test.kind === "is-set") throw new TypeError("emit: a question to the optimiser is left");
    const cell = this.#cells.size + this.#temporaries;
    this.#temporaries++;
    this.#checkCells();
    this.#code.push(...chainCode(test, cell));
    this.#temporaries--;
    this.#registers = { a: [], x: [] };
    return { code: jmp | CBPF_JUMP_OPS.jeq, k: test.protocol };
  }

  #toA(value: Value): void {
    if (this.#inA(value)) return;
    if (this.#inX(value)) {
      this.#push(misc | CBPF_MISC_OPS.txa);
      this.#registers.a = this.#registers.x;
      return;
    }
    switch (value.kind) {
      case "const":
        this.#push(ld | imm, value.value);
        break;
      case "length":
        this.#push(ld | len);
        break;
      case "slot":
        this.#push(ld | mem, this.#cellOf(value.slot));
        this.reads.add(firstOf(value.slot));
        break;
      case "header-length":
        this.#toX(value);
        this.#push(misc | CBPF_MISC_OPS.txa);
        break;
      case "load":
        if (value.base === undefined) {
          this.#push(ld | SIZE_BITS[value.size] | abs, value.offset);
        } else {
          this.#toX(value.base);
          this.#push(ld | SIZE_BITS[value.size] | ind, value.offset);
        }
        break;
      case "negate":
        this.#toA(value.operand);
        this.#push(alu | CBPF_ALU_OPS.neg);
        break;
      case "alu":
        if (value.right.kind === "const") {
          this.#toA(value.left);
          this.#push(alu | CBPF_ALU_OPS[value.op], value.right.value);
        } else {
          const swap = COMMUTES.has(value.op) && this.#direct(value.left) && !this.#direct(value.right);
          if (swap) this.#toAAndX(value.right, value.left);
          else this.#toAAndX(value.left, value.right);
          this.#push(alu | CBPF_ALU_OPS[value.op] | CBPF_SOURCES.x);
        }
    }
    this.#registers.a = [this.#key(value)];
  }

  /** Whether a value gets into X without a way over A. */
  #direct(value: Value): boolean {
    return (
      value.kind === "const" ||
      value.kind === "length" ||
      value.kind === "slot" ||
      value.kind === "header-length" ||
      this.#inX(value)
    );
  }

  #toX(value: Value): void {
    if (this.#inX(value)) return;
    if (this.#inA(value)) {
      this.#push(misc | CBPF_MISC_OPS.tax);
      this.#registers.x = this.#registers.a;
      return;
    }
    switch (value.kind) {
      case "const":
        this.#push(ldx | imm, value.value);
        break;
      case "length":
        this.#push(ldx | len);
        break;
      case "slot":
        this.#push(ldx | mem, this.#cellOf(value.slot));
        this.reads.add(firstOf(value.slot));
        break;
      case "header-length":
        this.#push(ldx | CBPF_SIZES.b | msh, value.offset);
        break;
      default:
        this.#toA(value);
        this.#push(misc);
        this.#registers.x = this.#registers.a;
        return;
    }
    this.#registers.x = [this.#key(value)];
  }

  /** Whether computing a value writes X, given what the registers hold. */
  #needsX(value: Value): boolean {
    if (this.#inA(value)) return false;
    switch (value.kind) {
      case "const":
      case "length":
      case "slot":
        return false;
      case "header-length":
        return true;
      case "load":
        return value.base !== undefined;
      case "negate":
        return this.#needsX(value.operand);
      case "alu":
        return value.right.kind !== "const" || this.#needsX(value.left);
    }
  }

  #toAAndX(left: Value, right: Value): void {
    if (this.#inX(right) && !this.#needsX(left)) {
      this.#toA(left);
      return;
    }
    if (this.#inA(left) && this.#direct(right)) {
      this.#toX(right);
      return;
    }
    const simple =
      right.kind === "const" ||
      right.kind === "length" ||
      right.kind === "slot" ||
      right.kind === "header-length";
    if (simple) {
      this.#toA(left);
      this.#toX(right);
      return;
    }
    this.#toA(right);
    const leftInA = this.#inA(left);
    if (leftInA || !this.#needsX(left)) {
      this.#toX(right);
      this.#toA(left);
      return;
    }
    const cell = CBPF_SCRATCH_CELLS - 1 - this.#temporaries;
    this.#temporaries++;
    this.#checkCells();
    this.#push(st, cell);
    this.#toA(left);
    this.#push(ldx | mem, cell);
    this.#registers.x = [this.#key(right)];
    this.#temporaries--;
  }
}
