/** Waiting for a word of the memory to change: what `for await` over a ring buffer or a perf buffer does between events. */
import type { LinearMemory } from "../memory.ts";

interface Waiter {
  readonly address: number;
  readonly seen: number;
  readonly done: () => void;
}

/** How long a reader of a shared memory sleeps where the engine has no Atomics.waitAsync. */
const POLL_MS = 1;
/** And how long at most where it has, so that a wakeup that came too early does no harm. */
const PATIENCE_MS = 200;

interface WaitAsync {
  waitAsync?(
    words: Int32Array,
    index: number,
    seen: number,
    timeout: number,
  ): { readonly async: boolean; readonly value: Promise<string> | string };
}

/** The readers of one machine that wait. */
export class Waiters {
  readonly #memory: LinearMemory;
  #waiting: Waiter[] = [];

  constructor(memory: LinearMemory) {
    this.#memory = memory;
  }

  /** Resolves when the word at `address` is not `seen` any more; sooner, now and then, if threads share the memory. */
  async change(address: number, seen: number): Promise<void> {
    if (this.#memory.u32(address) !== seen) return;
    if (!this.#memory.shared) {
      await new Promise<void>((done) => this.#waiting.push({ address, seen, done }));
      return;
    }
    const { waitAsync } = Atomics as unknown as WaitAsync;
    if (waitAsync === undefined) {
      await new Promise<void>((done) => setTimeout(done, POLL_MS));
      return;
    }
    const words = new Int32Array(this.#memory.u8.buffer as ArrayBuffer);
    await waitAsync(words, address >>> 2, seen | 0, PATIENCE_MS).value;
  }

  /** After each run: whose word has changed goes on. */
  check(): void {
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter(({ address, seen }) => this.#memory.u32(address) !== seen);
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((waiter) => !ready.includes(waiter));
    for (const { done } of ready) done();
  }
}
