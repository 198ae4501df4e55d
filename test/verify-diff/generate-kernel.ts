/**
 * Random programs of what the kernel lends to programs: iterators, dynptrs and their slices, objects with references, structures that are
 * walked, critical sections. Statements that mostly make sense stand one after the other; in two of three programs something is damaged.
 */
import type { Btf } from "../../src/btf/index.ts";
import { findMember } from "../../src/btf/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import type { AttachType, ProgramType } from "../../src/uapi/index.ts";
import { Random } from "../random/prng.ts";

export interface KernelProgram {
  readonly type: ProgramType;
  readonly attachType: AttachType | undefined;
  readonly attachTo: string | undefined;
  readonly instructions: readonly Instruction[];
  /** Slots of `lddw` that mean the ring buffer. */
  readonly rings: readonly number[];
}

const TYPES = ["tracing", "sched_cls", "xdp"] as const;

/** Places on the stack. */
const ITERATOR = -8;
const DYNPTR = -32;
const CLONE = -48;
const FLAG = -56;
const BUFFER = -88;

const RESERVE_DYNPTR = 198;
const SUBMIT_DYNPTR = 199;
const DISCARD_DYNPTR = 200;
const DYNPTR_READ = 201;
const DYNPTR_WRITE = 202;
const DYNPTR_DATA = 203;

const TASK_FIELDS = [
  "real_parent",
  "cgroups",
  "mm",
  "pid",
  "group_leader",
  "cpus_ptr",
  "files",
  "comm",
] as const;

export function generateKernelProgram(seed: number, btf: Btf): KernelProgram {
  return new Generator(seed, btf).program();
}

class Generator {
  readonly #random: Random;
  readonly #btf: Btf;
  readonly #type: (typeof TYPES)[number];
  readonly #rings = new Set<Instruction>();
  /** Kinds of statements that are under way. */
  readonly #open = new Set<number>();
  #out: Instruction[] = [];

  constructor(seed: number, btf: Btf) {
    this.#random = new Random(seed);
    this.#btf = btf;
    this.#type = this.#pick(TYPES);
  }

  program(): KernelProgram {
    this.#emit(0xbf, 6, 1);
    this.#emit(0xb7, 0, 0, 0, 0);
    for (let off = BUFFER; off < FLAG; off += 8) this.#emit(0x7b, 10, 0, off);
    if (this.#type === "tracing") this.#emit(0x79, 7, 6, 8);
    else this.#emit(0xb7, 7, 0, 0, 0);
    this.#emit(0xb7, 8, 0, 0, 0);
    this.#block(2 + this.#below(5), 2);
    this.#emit(0xb7, 0, 0, 0, 0);
    this.#emit(0x95);
    if (this.#below(3) > 0) for (let count = 1 + this.#below(2); count > 0; count--) this.#damage();
    const instructions = this.#out;
    return {
      type: this.#type,
      attachType: this.#type === "tracing" ? "trace_raw_tp" : undefined,
      attachTo: this.#type === "tracing" ? "sched_switch" : undefined,
      instructions,
      rings: instructions.flatMap((row, slot) => (this.#rings.has(row) ? [slot] : [])),
    };
  }

  #below(limit: number): number {
    return this.#random.below(limit);
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)] as T;
  }

  #emit(opcode: number, dst = 0, src = 0, offset = 0, imm = 0): void {
    this.#out.push({ opcode, dst, src, offset, imm });
  }

  #address(reg: number, off: number): void {
    this.#emit(0xbf, reg, 10);
    this.#emit(0x07, reg, 0, 0, off);
  }

  #number(reg: number, value: number): void {
    this.#emit(0xb7, reg, 0, 0, value);
  }

  #kfunc(name: string): void {
    this.#emit(0x85, 0, 2, 0, this.#btf.find(name, "func")[0]?.id ?? 0);
  }

  /** What `body` emits, jumped over if r0 is NULL. */
  #ifNotNull(body: () => void): void {
    const jump: Instruction = { opcode: 0x15, dst: 0, src: 0, offset: 0, imm: 0 };
    const at = this.#out.push(jump);
    body();
    this.#out[at - 1] = { ...jump, offset: this.#out.length - at };
  }

  #block(count: number, depth: number): void {
    for (let index = 0; index < count; index++) this.#statement(depth);
  }

  #statement(depth: number): void {
    const inner = (): void => {
      if (depth > 0) this.#block(1 + this.#below(2), depth - 1);
    };
    const traces = this.#type === "tracing";
    const kind = this.#below(12);
    // What has one place only is rarely begun twice.
    if (this.#open.has(kind) && this.#below(10) > 0) return;
    this.#open.add(kind);
    this.#statementOf(kind, traces, inner);
    this.#open.delete(kind);
  }

  #statementOf(kind: number, traces: boolean, inner: () => void): void {
    switch (kind) {
      case 0:
        return this.#iterator(inner);
      case 1:
        return this.#ringDynptr(inner);
      case 2:
        return traces ? this.#ringDynptr(inner) : this.#packetDynptr(inner);
      case 3:
        this.#kfunc("bpf_rcu_read_lock");
        inner();
        return this.#kfunc("bpf_rcu_read_unlock");
      case 4:
        this.#kfunc("bpf_preempt_disable");
        inner();
        return this.#kfunc("bpf_preempt_enable");
      case 5:
        this.#address(1, FLAG);
        this.#kfunc("bpf_local_irq_save");
        inner();
        this.#address(1, FLAG);
        return this.#kfunc("bpf_local_irq_restore");
      case 6:
        return this.#task(inner);
      case 7:
        return traces ? this.#mask() : this.#task(inner);
      case 8:
      case 9:
        return traces ? this.#walk() : this.#iterator(inner);
      case 10:
        this.#emit(0x07, 8, 0, 0, this.#pick([1, -1, 8]));
        return;
      default:
        return this.#cast();
    }
  }

  #iterator(inner: () => void): void {
    this.#address(1, ITERATOR);
    this.#number(2, this.#below(3));
    this.#number(3, this.#below(20));
    this.#kfunc("bpf_iter_num_new");
    const start = this.#out.length;
    this.#address(1, ITERATOR);
    this.#kfunc("bpf_iter_num_next");
    this.#ifNotNull(() => {
      this.#emit(0x61, 9, 0);
      inner();
      this.#emit(0x05, 0, 0, start - this.#out.length - 1);
    });
    this.#address(1, ITERATOR);
    this.#kfunc("bpf_iter_num_destroy");
  }

  #ringDynptr(inner: () => void): void {
    const ring: Instruction = { opcode: 0x18, dst: 1, src: 1, offset: 0, imm: 0 };
    this.#rings.add(ring);
    this.#out.push(ring);
    this.#emit(0x00);
    this.#number(2, this.#pick([8, 16, 64]));
    this.#number(3, 0);
    this.#address(4, DYNPTR);
    this.#emit(0x85, 0, 0, 0, RESERVE_DYNPTR);
    this.#useDynptr(DYNPTR, inner);
    this.#address(1, this.#below(10) === 0 ? CLONE : DYNPTR);
    this.#number(2, 0);
    this.#emit(0x85, 0, 0, 0, this.#pick([SUBMIT_DYNPTR, DISCARD_DYNPTR]));
  }

  #packetDynptr(inner: () => void): void {
    this.#emit(0xbf, 1, 6);
    this.#number(2, 0);
    this.#address(3, DYNPTR);
    this.#kfunc(this.#type === "xdp" ? "bpf_dynptr_from_xdp" : "bpf_dynptr_from_skb");
    this.#useDynptr(DYNPTR, inner);
  }

  #useDynptr(off: number, inner: () => void): void {
    for (let count = this.#below(3); count > 0; count--) {
      switch (this.#below(6)) {
        case 0:
          this.#address(1, off);
          this.#number(2, this.#below(8));
          this.#number(3, this.#pick([4, 8, 16]));
          this.#emit(0x85, 0, 0, 0, DYNPTR_DATA);
          this.#ifNotNull(() => this.#emit(this.#pick([0x79, 0x71]), 9, 0, this.#below(9)));
          break;
        case 1:
          this.#address(1, off);
          this.#address(2, CLONE);
          this.#kfunc("bpf_dynptr_clone");
          break;
        case 2:
          this.#address(1, off);
          this.#number(2, this.#below(8));
          if (this.#below(2) === 0) this.#number(3, 0);
          else this.#address(3, BUFFER);
          this.#number(4, this.#pick([4, 8, 32]));
          this.#kfunc(this.#pick(["bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"]));
          this.#ifNotNull(() => {
            this.#emit(0x71, 9, 0, this.#below(5));
            if (this.#below(3) === 0) this.#emit(0x72, 0, 0, 0, 1);
            inner();
            if (this.#below(12) === 0) this.#emit(0x72, 0, 0, 0, 1);
          });
          break;
        case 3:
          this.#address(1, BUFFER);
          this.#number(2, 8);
          this.#address(3, off);
          this.#number(4, 0);
          this.#number(5, 0);
          this.#emit(0x85, 0, 0, 0, DYNPTR_READ);
          break;
        case 4:
          this.#address(1, off);
          this.#number(2, 0);
          this.#address(3, BUFFER);
          this.#number(4, 8);
          this.#number(5, 0);
          this.#emit(0x85, 0, 0, 0, DYNPTR_WRITE);
          break;
        default:
          inner();
      }
    }
  }

  #task(inner: () => void): void {
    if (this.#type === "tracing" && this.#below(2) === 0) {
      this.#emit(0xbf, 1, 7);
      this.#kfunc("bpf_task_acquire");
    } else {
      this.#number(1, 1);
      this.#kfunc("bpf_task_from_pid");
    }
    this.#ifNotNull(() => {
      this.#emit(0xbf, 9, 0);
      this.#emit(0x61, 1, 9, this.#offset("task_struct", "pid"));
      if (this.#below(3) === 0) inner();
      this.#emit(0xbf, 1, 9);
      this.#kfunc("bpf_task_release");
    });
  }

  #mask(): void {
    this.#kfunc("bpf_cpumask_create");
    this.#ifNotNull(() => {
      this.#emit(0xbf, 9, 0);
      this.#number(1, this.#below(4));
      this.#emit(0xbf, 2, 9);
      this.#kfunc(this.#pick(["bpf_cpumask_set_cpu", "bpf_cpumask_test_cpu", "bpf_cpumask_clear_cpu"]));
      this.#emit(0xbf, 1, 9);
      this.#kfunc("bpf_cpumask_release");
    });
  }

  #offset(struct: string, field: string): number {
    const id = this.#btf.find(struct, "struct")[0]?.id;
    const member = id === undefined ? undefined : findMember(this.#btf, id, field);
    return Math.floor((member?.bitOffset ?? 0) / 8);
  }

  #walk(): void {
    const field = this.#pick(TASK_FIELDS);
    const isNumber = field === "pid" || field === "comm";
    const load = this.#below(8) === 0 ? this.#pick([0x79, 0x61]) : isNumber ? 0x61 : 0x79;
    this.#emit(load, 9, 7, this.#offset("task_struct", field));
    if (isNumber && this.#below(10) > 0) return;
    if (this.#below(2) === 0) this.#emit(0x79, 9, 9, this.#pick([0, 8, 16]));
    if (this.#below(6) > 0) return;
    this.#emit(0xbf, 1, 9);
    this.#kfunc(this.#pick(["bpf_task_acquire", "bpf_cgroup_acquire"]));
  }

  #cast(): void {
    this.#emit(0xbf, 1, this.#pick([6, 7, 8]));
    const task = this.#btf.find("task_struct", "struct")[0]?.id ?? 1;
    this.#number(2, this.#pick([0, 0, task, task, task, task, 2]));
    this.#kfunc("bpf_rdonly_cast");
    this.#emit(0x71, 9, 0, this.#pick([0, 8, 16, 100]));
  }

  #damage(): void {
    const at = 1 + this.#below(this.#out.length - 2);
    const row = this.#out[at] as Instruction;
    if (row.opcode === 0x18 || row.opcode === 0) return;
    switch (this.#below(4)) {
      case 0:
        this.#out[at] = { opcode: 0xbf, dst: 9, src: 8, offset: 0, imm: 0 };
        return;
      case 1:
        if (row.opcode === 0x07 || row.opcode === 0xb7) {
          this.#out[at] = { ...row, imm: row.imm + this.#pick([8, -8, 1, -1, 16]) };
        }
        return;
      case 2:
        if ((row.opcode & 7) === 1) this.#out[at] = { ...row, offset: row.offset + this.#pick([1, 8, -8]) };
        return;
      default: {
        const other = 1 + this.#below(this.#out.length - 2);
        const swapped = this.#out[other] as Instruction;
        const movable = ({ opcode }: Instruction): boolean =>
          opcode !== 0x18 && opcode !== 0 && (opcode & 7) !== 5;
        if (!movable(row) || !movable(swapped)) return;
        this.#out[at] = swapped;
        this.#out[other] = row;
      }
    }
  }
}
