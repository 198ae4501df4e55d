/**
 * The regions of memory that sandboxed programs may touch, as the host sees them: it lends memory, and wants to know in words
 * what lies around an address.
 */
import type { CoreExports } from "../core/index.ts";
import {
  CTX_SIZE,
  EXEC_CTX,
  EXEC_PROG,
  EXEC_STACK,
  FIELD_ENTRY,
  FIELD_KIND,
  FIELD_OFFSET,
  FIELD_SIZE,
  FRAME_SIZE,
  CACHE_RECORD,
  CACHE_TYPE,
  HEAP_REFERENCES,
  MAP_RECORD,
  GRANTS_COUNT,
  GRANTS_LIST,
  PROG_GRANTS,
  REGION_BASE,
  REGION_CONTEXT,
  REGION_COPIES,
  REGION_COPY_STRIDE,
  REGION_END,
  REGION_HEAP,
  REGION_KEY,
  REGION_KEY_SIZE,
  REGION_KIND,
  REGION_MAP_VALUE,
  REGION_MEMORY,
  REGION_OBJECT,
  REGION_OFFSET,
  REGION_OWNER,
  REGION_RECORD,
  REGION_RIGHTS,
  REGION_SAMPLE,
  REGION_SIZE,
  REGION_STRIDE,
  RIGHT_READ,
  RIGHT_WRITE,
  SPACE_KERNEL,
  SPACE_USER,
  STACK_SIZE,
} from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import { FIELD_KINDS } from "./heap.ts";
import type { LinearMemory } from "./memory.ts";

const KINDS = {
  memory: REGION_MEMORY,
  context: REGION_CONTEXT,
  "map value": REGION_MAP_VALUE,
  sample: REGION_SAMPLE,
  object: REGION_OBJECT,
} as const;

const SPACES = { user: SPACE_USER, kernel: SPACE_KERNEL } as const;
const FIELD_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(FIELD_KINDS).map(([name, number]) => [number, name]),
);

export interface RegionDefinition {
  readonly kind: keyof typeof KINDS;
  /** What messages call it. */
  readonly label: string;
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** Whose memory it stands for, if it is not either's: `bpf_probe_read_user` and `bpf_probe_read_kernel` tell them apart. */
  readonly space?: "user" | "kernel";
  /** Programs may write to it. Default true. */
  readonly writable?: boolean;
  /**
   * Whose it is: the address of a map's descriptor (programs that hold the map), of a program's, of an execution state (runs on
   * that CPU); 0, the default, stands for all programs.
   */
  readonly owner?: number;
}

/** Contiguous bytes that a program may touch, in words. */
export interface Window {
  readonly label: string;
  readonly start: number;
  readonly size: number;
  readonly rights: number;
}

type RegionCore = Pick<
  CoreExports,
  | "region_add"
  | "region_remove"
  | "region_writes"
  | "region_table"
  | "region_count"
  | "packet_start"
  | "packet_end"
>;

/** What maps and types of objects are called. */
export interface RegionNames {
  /** Of the map whose descriptor lies at an address. */
  map(address: number): string | undefined;
  /** Of the type of a number. */
  type(number: number): string;
}

export class Regions {
  readonly #memory: LinearMemory;
  readonly #core: RegionCore;
  readonly #labels = new Map<number, string>();
  readonly #names: RegionNames;

  constructor(memory: LinearMemory, core: RegionCore, names: RegionNames) {
    this.#memory = memory;
    this.#core = core;
    this.#names = names;
  }

  /**
   * Lets sandboxed programs touch memory that the host has allocated. Regions must not overlap.
   *
   * @throws BpfError code "memory" if the machine's memory is used up.
   * @example
   * const address = machine.memory.alloc(64, "arguments");
   * machine.regions.add({ kind: "memory", label: "arguments", address, size: 64 });
   * program.call(address, 64);
   */
  add({ kind, label, address, size, space, writable = true, owner = 0 }: RegionDefinition): void {
    const of = space === undefined ? 0 : SPACES[space];
    const rights = of | (writable ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ);
    if (this.#core.region_add(address, size, KINDS[kind], rights, owner) === 0)
      throw new BpfError("memory", `region '${label}': no room for it in the machine's memory`);
    this.#labels.set(address, label);
  }

  /** Lets programs write members of an object (WRITE_ record). */
  allowWrites(address: number, record: number): void {
    if (record !== 0) this.#core.region_writes(address, record);
  }

  /** Takes back the region that begins at an address. */
  remove(address: number): void {
    this.#core.region_remove(address);
    this.#labels.delete(address);
  }

  /** The window that lies nearest to an access, of those that the program under way may touch. */
  nearest(exec: number, frame: number, address: number, size: number): Window | undefined {
    let best: Window | undefined;
    let distance = Infinity;
    for (const window of this.#windows(exec, frame, address)) {
      const before = window.start - (address + size);
      const after = address - (window.start + window.size);
      const apart = Math.max(before, after, 0);
      if (apart >= distance) continue;
      best = window;
      distance = apart;
    }
    return best;
  }

  /** Of strided regions only the windows around an address. */
  *#windows(exec: number, frame: number, address: number): Generator<Window> {
    const { view } = this.#memory;
    const u32 = (at: number): number => view.getUint32(at, true);
    const lowest = frame - FRAME_SIZE;
    const rights = RIGHT_READ | RIGHT_WRITE;
    const prog = u32(exec + EXEC_PROG);
    yield {
      label: "stack",
      start: lowest,
      size: u32(exec + EXEC_STACK) + STACK_SIZE - lowest,
      rights,
    };
    const context = u32(exec + EXEC_CTX);
    const table = this.#core.region_table() >>> 0;
    for (let index = 0; index < this.#core.region_count(); index++) {
      const record = table + index * REGION_RECORD;
      const field = (offset: number): number => u32(record + offset);
      const base = field(REGION_BASE);
      if (field(REGION_KIND) === REGION_CONTEXT) {
        if (base !== context) continue;
        const label = this.#labels.get(base) ?? "context";
        yield { label, start: base, size: u32(base + CTX_SIZE), rights: RIGHT_READ };
        const start = this.#core.packet_start(base) >>> 0;
        const end = this.#core.packet_end(base) >>> 0;
        if (end > start) yield { label: "packet", start, size: end - start, rights };
        continue;
      }
      const owner = field(REGION_OWNER);
      if (field(REGION_KIND) === REGION_HEAP) {
        yield* this.#blockWindows(record, address, owner);
        continue;
      }
      if (owner !== 0 && owner !== exec && owner !== prog && !this.#holds(prog, owner)) continue;
      yield* this.#blockWindows(record, address, owner);
    }
  }

  *#blockWindows(record: number, address: number, owner: number): Generator<Window> {
    const { view } = this.#memory;
    const field = (offset: number): number => view.getUint32(record + offset, true);
    const base = field(REGION_BASE);
    const end = field(REGION_END);
    const stride = field(REGION_STRIDE) || end - base;
    const heap = field(REGION_KIND) === REGION_HEAP;
    const map = heap ? undefined : this.#names.map(owner);
    const name = heap
      ? `struct ${this.#names.type(this.#memory.u32(owner + CACHE_TYPE))}`
      : map === undefined
        ? (this.#labels.get(base) ?? "memory")
        : `map value '${map}'`;
    const inside = Math.min(Math.max(address, base), end - 1);
    const block = base + Math.floor((inside - base) / stride) * stride;
    for (const start of [block - stride, block, block + stride]) {
      if (start < base || start + stride > end) continue;
      const first = start + field(REGION_OFFSET);
      const freed = heap && this.#memory.u32(first + HEAP_REFERENCES) === 0;
      const copies = field(REGION_SIZE) === 0 ? 0 : Math.max(1, field(REGION_COPIES));
      for (let copy = 0; copy < copies; copy++) {
        const at = first + copy * field(REGION_COPY_STRIDE);
        const fields = heap
          ? this.#memory.u32(owner + CACHE_RECORD)
          : map === undefined
            ? 0
            : this.#memory.u32(owner + MAP_RECORD);
        yield* this.#fieldWindows(fields, at, field(REGION_SIZE), address);
        yield {
          label: freed ? `freed ${name}` : name,
          start: at,
          size: field(REGION_SIZE),
          rights: freed ? 0 : field(REGION_RIGHTS),
        };
      }
      if (field(REGION_KEY_SIZE) === 0 || field(REGION_KIND) !== REGION_MAP_VALUE) continue;
      yield {
        label: `key of map '${map ?? ""}'`,
        start: start + field(REGION_KEY),
        size: field(REGION_KEY_SIZE),
        rights: RIGHT_READ,
      };
    }
  }

  /** A field of the kernel's that an address lies in: it is nearer than the value around it. */
  *#fieldWindows(record: number, value: number, size: number, address: number): Generator<Window> {
    if (record === 0 || address < value || address >= value + size) return;
    for (let index = 0; index < this.#memory.u32(record); index++) {
      const entry = record + 4 + FIELD_ENTRY * index;
      const start = value + this.#memory.u32(entry + FIELD_OFFSET);
      const bytes = this.#memory.u32(entry + FIELD_SIZE);
      if (address < start || address >= start + bytes) continue;
      const kind = this.#memory.u32(entry + FIELD_KIND);
      yield { label: FIELD_NAMES[kind] ?? "field of the kernel's", start, size: bytes, rights: 0 };
    }
  }

  #holds(prog: number, map: number): boolean {
    const grants = this.#memory.u32(prog + PROG_GRANTS);
    if (grants === 0) return false;
    const count = this.#memory.u32(grants + GRANTS_COUNT);
    for (let index = 0; index < count; index++) {
      if (this.#memory.u32(grants + GRANTS_LIST + 4 * index) === map) return true;
    }
    return false;
  }
}
