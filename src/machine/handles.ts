/**
 * What sandboxed runs hold: references to objects, and dynptrs, iterators and flags that lie in memory which the program can
 * write. Of the latter a copy is kept out of its reach; who changed, copied or made up the bytes is stopped when they are used.
 * What a run leaves behind is taken from it when it is over.
 */
import type { CoreExports } from "../core/index.ts";
import { EXEC_HELD, EXEC_RUN } from "../core/layout.ts";
import type { Heap } from "./heap.ts";
import type { LinearMemory } from "./memory.ts";

/** Why a call was refused: no error of the machine's, so that whoever catches it says where the program was. */
export class Refusal extends Error {}

interface Reference {
  /** The name of its structure, or "object" for those of the program. */
  readonly what: string;
  count: number;
}

interface Opaque {
  readonly kind: string;
  bytes: Uint8Array;
  /** It lies in memory of the host, which the program cannot touch, and what it is about needs no check. */
  readonly lent: boolean;
  /** Something must be given back through it, so that nothing else may take its place. */
  readonly keeps: boolean;
  /** How that is given back at the end of the run; undefined where the core does it. */
  readonly leave: (() => void) | undefined;
}

interface Run {
  readonly number: number;
  readonly references: Map<number, Reference>;
  readonly opaque: Map<number, Opaque>;
  /** Addresses of the bpf_res_spin_locks that it holds, in the order of their taking. */
  readonly locks: number[];
  /** It is in a function that orders a tree, which must not change. */
  ordering: boolean;
}

export class Handles {
  readonly #memory: LinearMemory;
  readonly #core: CoreExports;
  readonly #heap: Heap;
  readonly #runs = new Map<number, Run>();

  constructor(memory: LinearMemory, core: CoreExports, heap: Heap) {
    this.#memory = memory;
    this.#core = core;
    this.#heap = heap;
  }

  /** What the run under way on a CPU holds. */
  of(exec: number): Run {
    const number = this.#memory.u32(exec + EXEC_RUN);
    const known = this.#runs.get(exec);
    if (known?.number === number) return known;
    if (known !== undefined) this.#close(exec, known);
    const run: Run = { number, references: new Map(), opaque: new Map(), locks: [], ordering: false };
    this.#runs.set(exec, run);
    return run;
  }

  /** A run is over. */
  end(exec: number): void {
    if (this.#memory.u32(exec + EXEC_HELD) !== 0) this.#core.end_run(exec);
    const run = this.#runs.size === 0 ? undefined : this.#runs.get(exec);
    if (run !== undefined) this.#close(exec, run);
  }

  #close(exec: number, { references, opaque, locks }: Run): void {
    this.#runs.delete(exec);
    for (const address of locks) this.#memory.setU32(address, 0);
    for (const { leave } of opaque.values()) leave?.();
    for (const [address, { count }] of references) {
      for (let left = count; left > 0 && this.#heap.objectOf(address) === address; left--)
        this.#heap.release(address);
    }
  }

  hold(exec: number, address: number, what: string): void {
    const { references } = this.of(exec);
    const known = references.get(address);
    if (known === undefined) references.set(address, { what, count: 1 });
    else known.count++;
  }

  /** What the run holds at an address. */
  held(exec: number, address: number): string | undefined {
    return this.of(exec).references.get(address)?.what;
  }

  /** One reference goes: to whoever takes it, or for good. */
  give(exec: number, address: number): void {
    const { references } = this.of(exec);
    const known = references.get(address);
    if (known === undefined || --known.count > 0) return;
    for (const [at, one] of references) if (one === known) references.delete(at);
  }

  /** What the run holds at an address, if it does, has another one too. */
  alias(exec: number, address: number, other: number): void {
    const { references } = this.of(exec);
    const known = references.get(address);
    if (known !== undefined && other !== 0 && !references.has(other)) references.set(other, known);
  }

  /** What stands in the program's memory from now on. */
  note(
    exec: number,
    address: number,
    kind: string,
    size: number,
    { lent = false, leave, keeps = leave !== undefined }: Partial<Omit<Opaque, "kind" | "bytes">> = {},
  ): void {
    this.of(exec).opaque.set(address, { kind, bytes: this.#memory.read(address, size), lent, keeps, leave });
  }

  /** A function has changed what it had noted there. */
  renew(exec: number, address: number): void {
    const known = this.of(exec).opaque.get(address);
    if (known !== undefined) known.bytes = this.#memory.read(address, known.bytes.length);
  }

  /** What was noted at an address, whatever the bytes are now. */
  noted(exec: number, address: number): Opaque | undefined {
    return this.of(exec).opaque.get(address);
  }

  /** Whether the bytes are those that a function has left there. */
  isIntact(address: number, { bytes }: Opaque): boolean {
    return this.#memory.read(address, bytes.length).every((byte, index) => byte === bytes[index]);
  }

  forget(exec: number, address: number): void {
    this.of(exec).opaque.delete(address);
  }
}
