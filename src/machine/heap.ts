/**
 * Objects that programs allocate, as the host sees them: their types and the kernel's fields in them. Blocks, references, and what
 * becomes of what an object owns when it goes, are the core's (core/assembly/objects.ts, owned.ts).
 */
import { type Btf, type BtfFieldTarget, type BtfSpecialField, objectFields, sizeOf } from "../btf/index.ts";
import type { CoreExports } from "../core/index.ts";
import {
  CACHE_COPY_STRIDE,
  CACHE_TYPE,
  FIELD_ENTRY,
  FIELD_KIND,
  FIELD_KPTR,
  FIELD_KPTR_UNTRUSTED,
  FIELD_LIST_HEAD,
  FIELD_LIST_NODE,
  FIELD_NODE,
  FIELD_OFFSET,
  FIELD_PERCPU_KPTR,
  FIELD_RB_NODE,
  FIELD_RB_ROOT,
  FIELD_REFCOUNT,
  FIELD_RES_SPIN_LOCK,
  FIELD_SIZE,
  FIELD_SPIN_LOCK,
  FIELD_TARGET,
  FIELD_TASK_WORK,
  FIELD_TIMER,
  FIELD_UPTR,
  FIELD_WQ,
  HEAP_CACHE,
  HEAP_OWNER,
  RIGHT_READ,
  RIGHT_WRITE,
} from "../core/layout.ts";
import { KFUNCS } from "../uapi/index.ts";
import type { LinearMemory } from "./memory.ts";

/** Words of the messages, and numbers of the core. */
export const FIELD_KINDS: Readonly<Record<string, number>> = {
  spin_lock: FIELD_SPIN_LOCK,
  res_spin_lock: FIELD_RES_SPIN_LOCK,
  timer: FIELD_TIMER,
  wq: FIELD_WQ,
  task_work: FIELD_TASK_WORK,
  kptr: FIELD_KPTR,
  percpu_kptr: FIELD_PERCPU_KPTR,
  uptr: FIELD_UPTR,
  list_head: FIELD_LIST_HEAD,
  rb_root: FIELD_RB_ROOT,
  list_node: FIELD_LIST_NODE,
  rb_node: FIELD_RB_NODE,
  refcount: FIELD_REFCOUNT,
};

/** What a record is made of: fields of types, or those that a test gives a map. */
export interface NotedField {
  readonly kind: string;
  readonly offset: number;
  readonly size: number;
  readonly target?: BtfSpecialField["target"];
  readonly untrusted?: true;
}

/** Structures of the kernel that programs get references to: their types are known by name, whoever declares them. */
const KERNEL_TYPES: readonly string[] = [
  ...new Set(
    KFUNCS.filter(({ flags }) => flags?.includes("acquire")).flatMap(({ returns }) => {
      const name = /^struct (\w+) \*$/.exec(returns)?.[1];
      return name === undefined || name.startsWith("bpf_list_") || name.startsWith("bpf_rb_") ? [] : [name];
    }),
  ),
  "sock",
];
/** Numbers of types: those of the kernel first, 0 is none; those of programs from here on; the copies for CPUs are marked. */
const FIRST_LOCAL = 0x100;
const PER_CPU = 0x40000000;

export class Heap {
  readonly #memory: LinearMemory;
  readonly #core: CoreExports;
  readonly #cpus: number;
  /** The number of each BTF's type 0. */
  readonly #bases = new Map<Btf, number>();
  #next = FIRST_LOCAL;
  readonly #caches = new Map<number, number>();

  constructor(memory: LinearMemory, core: CoreExports, cpus: number) {
    this.#memory = memory;
    this.#core = core;
    this.#cpus = cpus;
  }

  /** BTFs in the order in which they were met, which their types' numbers depend on: threads that share the memory agree on them. */
  get known(): Iterable<Btf> {
    return this.#bases.keys();
  }

  /** The number of a BTF's first type. */
  know(btf: Btf): number {
    let base = this.#bases.get(btf);
    if (base === undefined) {
      base = this.#next;
      this.#bases.set(btf, base);
      this.#next += btf.count;
    }
    return base;
  }

  /** The number of a structure: the same for the same type of the same BTF. */
  #numberOf({ btf, type }: Pick<BtfFieldTarget, "btf" | "type">): number {
    const { name } = btf.type(type);
    const kernel = KERNEL_TYPES.indexOf(name);
    if (kernel >= 0) return kernel + 1;
    return this.know(btf) + type;
  }

  /** The name of the structure of a number, and of whatever has none. */
  nameOf(number: number): string {
    if (number >= PER_CPU) return `per-CPU ${this.nameOf(number - PER_CPU)}`;
    for (const [btf, base] of this.#bases) {
      if (number >= base && number < base + btf.count) return btf.type(number - base).name;
    }
    return KERNEL_TYPES[number - 1] ?? "unknown";
  }

  /** The number of a structure of the kernel; 0 for others. */
  kernelNumber(name: string): number {
    return KERNEL_TYPES.indexOf(name) + 1;
  }

  /** Lays out a record (FIELD_) of fields; its address, 0 if there are none. */
  record(fields: readonly NotedField[], what: string): number {
    if (fields.length === 0) return 0;
    const memory = this.#memory;
    const record = memory.alloc(4 + FIELD_ENTRY * fields.length, what);
    memory.setU32(record, fields.length);
    fields.forEach(({ kind, offset, size, target, untrusted }, index) => {
      const entry = record + 4 + FIELD_ENTRY * index;
      const number = target === undefined ? 0 : this.#numberOf(target);
      memory.setU32(entry + FIELD_OFFSET, offset);
      memory.setU32(entry + FIELD_SIZE, size);
      memory.setU32(entry + FIELD_KIND, untrusted ? FIELD_KPTR_UNTRUSTED : (FIELD_KINDS[kind] ?? 0));
      memory.setU32(entry + FIELD_TARGET, number !== 0 && kind === "percpu_kptr" ? number + PER_CPU : number);
      memory.setU32(entry + FIELD_NODE, target?.node ?? 0);
    });
    return record;
  }

  /** A new object of a type of a program's BTF, or with a copy for each CPU; 0 when the memory is used up. */
  allocate(btf: Btf, type: number, perCpu: boolean, owner: number): number {
    const number = this.#numberOf({ btf, type }) + (perCpu ? PER_CPU : 0);
    const known = this.#caches.get(number);
    if (known !== undefined) return this.#core.object_alloc(known, owner) >>> 0;
    const record = this.record(perCpu ? [] : objectFields(btf, type), `struct ${btf.type(type).name}`);
    return this.#allocateIn(number, sizeOf(btf, type), perCpu, record, RIGHT_READ | RIGHT_WRITE, owner);
  }

  /** A new object of the kernel's, which programs only read. */
  allocateKernel(name: string, size: number, owner: number): number {
    const number = this.kernelNumber(name);
    const known = this.#caches.get(number);
    if (known !== undefined) return this.#core.object_alloc(known, owner) >>> 0;
    return this.#allocateIn(number, size, false, 0, RIGHT_READ, owner);
  }

  #allocateIn(
    number: number,
    size: number,
    perCpu: boolean,
    record: number,
    rights: number,
    owner: number,
  ): number {
    const copies = perCpu ? this.#cpus : 1;
    const cache = this.#core.object_cache(size, copies, number, record, rights) >>> 0;
    if (cache === 0) return 0;
    this.#caches.set(number, cache);
    return this.#core.object_alloc(cache, owner) >>> 0;
  }

  /** The object in use that an address lies in; 0 if it lies in none. */
  objectOf(address: number): number {
    return this.#core.object_of(address) >>> 0;
  }

  /** The number of an object's type. */
  typeOf(object: number): number {
    return this.#memory.u32(this.#memory.u32(object + HEAP_CACHE) + CACHE_TYPE);
  }

  /** Whether it is one of the kernel's structures, not of the program's types. */
  isKernel(object: number): boolean {
    return this.typeOf(object) < FIRST_LOCAL;
  }

  isPerCpu(object: number): boolean {
    return this.typeOf(object) >= PER_CPU;
  }

  /** Bytes from a CPU's copy of an object to the next CPU's. */
  copyStride(object: number): number {
    return this.#memory.u32(this.#memory.u32(object + HEAP_CACHE) + CACHE_COPY_STRIDE);
  }

  setOwner(object: number, owner: number): void {
    this.#memory.setU32(object + HEAP_OWNER, owner);
  }

  retain(object: number): void {
    this.#core.object_retain(object);
  }

  /** One reference less; with the last one goes what the object owns. */
  release(object: number): void {
    this.#core.object_release(object);
  }
}
