/** Memory that lives for one run and some more: texts, bytes, stacks, objects that arguments refer to. */
import { BpfError } from "../../errors.ts";
import { isPlaced } from "../objects/index.ts";
import type { LinearMemory } from "../memory.ts";
import type { Word } from "./input.ts";

/** How much of earlier inputs stays. */
const KEPT_PARTS = 256;
const KEPT_BYTES = 1 << 20;

interface Kept {
  readonly address: number;
  readonly bytes: number;
}

export class Scratch {
  readonly memory: LinearMemory;
  readonly parts: number[] = [];
  readonly #buffers = new Map<number, DataView<ArrayBuffer>>();
  readonly #objects: { free(): void }[] = [];
  readonly #kept: Kept[] = [];
  #keptBytes = 0;

  constructor(memory: LinearMemory) {
    this.memory = memory;
  }

  /**
   * Zero bytes of the host to build a context in, the same for each run: making a buffer of more than 64 bytes takes V8 longer
   * than most programs run. They hold until the next run.
   */
  buffer(size: number): DataView<ArrayBuffer> {
    let view = this.#buffers.get(size);
    if (view === undefined) {
      view = new DataView(new ArrayBuffer(size));
      this.#buffers.set(size, view);
      return view;
    }
    for (let at = 0; at < size; at += 8) view.setFloat64(at, 0);
    return view;
  }

  /** Zeroed memory. */
  room(size: number): number {
    const address = this.memory.lend(Math.max(8, size), "input of a run", "memory", { writable: true });
    this.parts.push(address);
    return address;
  }

  place(bytes: Uint8Array): number {
    const address = this.room(bytes.length);
    this.memory.write(address, bytes);
    return address;
  }

  /** A value of up to 64 bits, or the address of what is laid out for it. */
  word(value: Word, program: string, what: string): bigint {
    if (typeof value === "bigint") return value;
    if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
    if (typeof value === "boolean") return value ? 1n : 0n;
    if (value === null) return 0n;
    if (isPlaced(value)) return BigInt(value.address);
    if (typeof value === "string") return BigInt(this.place(new TextEncoder().encode(`${value}\0`)));
    if (value instanceof Uint8Array) return BigInt(this.place(value));
    throw new BpfError(
      "context",
      `program '${program}': ${what}: needs a whole number, an object of the machine, a text or bytes, not ${typeof value}`,
    );
  }

  /** Frees an object with the rest. */
  adopt(object: { free(): void }): void {
    this.#objects.push(object);
  }

  /**
   * After a run. What pointers of its input lead to stays for a while: what a program has seen when a call was entered, another one
   * looks up when the call returns.
   */
  free(): void {
    for (const object of this.#objects) object.free();
    this.#objects.length = 0;
    for (const address of this.parts) {
      const bytes = this.memory.capacity(address);
      this.#kept.push({ address, bytes });
      this.#keptBytes += bytes;
    }
    this.parts.length = 0;
    while (this.#kept.length > KEPT_PARTS || this.#keptBytes > KEPT_BYTES) {
      const { address, bytes } = this.#kept.shift() as Kept;
      this.#keptBytes -= bytes;
      this.memory.takeBack(address);
    }
  }
}
