import { BpfError } from "../errors.ts";

/** What the memory needs of the core: its allocator. */
interface Allocator {
  alloc(size: number, align: number): number;
  free(address: number): void;
}

/** What the memory needs of the table of regions. */
interface Lending {
  add(region: { kind: LentKind; label: string; address: number; size: number } & LendOptions): void;
  remove(address: number): void;
  allowWrites(address: number, record: number): void;
}

/** What sandboxed programs take lent memory for: an object of the kernel, which helpers take as one, or mere bytes. */
type LentKind = "object" | "memory";

interface LendOptions {
  readonly align?: number;
  readonly writable?: boolean;
  readonly space?: "user" | "kernel";
}

/**
 * The machine's linear memory as the host sees it.
 *
 * A view of the memory dies whenever the memory grows (the ArrayBuffer is detached), and an allocation inside any
 * core function may grow it. So views are asked for afresh through `u8` and `view`, which cost one comparison, and
 * are never kept over a call into the machine.
 */
export class LinearMemory {
  readonly memory: WebAssembly.Memory;
  readonly #allocator: Allocator;
  /** Where lent memory is noted. */
  lending: Lending | undefined;
  #buffer: ArrayBufferLike | undefined;
  #u8: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));

  constructor(memory: WebAssembly.Memory, allocator: Allocator) {
    this.memory = memory;
    this.#allocator = allocator;
  }

  /** Whether threads share it. */
  get shared(): boolean {
    return typeof SharedArrayBuffer !== "undefined" && this.memory.buffer instanceof SharedArrayBuffer;
  }

  /** All bytes. Do not keep it. */
  get u8(): Uint8Array {
    this.#refresh();
    return this.#u8;
  }

  /** All bytes, for numbers. Do not keep it. BPF programs here are little-endian. */
  get view(): DataView {
    this.#refresh();
    return this.#view;
  }

  #refresh(): void {
    const { buffer } = this.memory;
    // A shared memory keeps its old buffer alive when it grows, at its old length: hence identity, not detachment.
    if (buffer === this.#buffer) return;
    this.#buffer = buffer;
    this.#u8 = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  /**
   * Zeroed memory.
   *
   * @throws BpfError code "memory" when the 4 GiB of a 32-bit memory, or the host's, are used up.
   */
  alloc(size: number, what: string, align = 8): number {
    const address = size < 2 ** 32 ? this.#allocator.alloc(size, align) >>> 0 : 0;
    // Another thread may have grown the memory: growing it by nothing brings the new length here.
    if (this.shared && address + size > this.memory.buffer.byteLength) this.memory.grow(0);
    if (address === 0)
      throw new BpfError("memory", `${what}: no room for ${size} bytes in the machine's memory`);
    return address;
  }

  free(address: number): void {
    this.#allocator.free(address);
  }

  /** Bytes of the block that was allocated there, at least as many as were asked for: its header says it. */
  capacity(address: number): number {
    return this.u32(address - 8);
  }

  /** Zeroed memory that sandboxed programs may read too, and write if it says so. It must be taken back, not freed. */
  lend(
    size: number,
    what: string,
    kind: LentKind,
    { align = 8, writable = false, space }: LendOptions = {},
  ): number {
    const address = this.alloc(size, what, align);
    this.lending?.add({
      kind,
      label: what,
      address,
      size,
      writable,
      ...(space === undefined ? {} : { space }),
    });
    return address;
  }

  takeBack(address: number): void {
    this.lending?.remove(address);
    this.free(address);
  }

  /** A copy of `length` bytes at `address`. */
  read(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    bytes.set(this.u8.subarray(address, address + length));
    return bytes;
  }

  write(address: number, bytes: Uint8Array): void {
    this.u8.set(bytes, address);
  }

  u32(address: number): number {
    return this.view.getUint32(address, true);
  }

  setU32(address: number, value: number): void {
    this.view.setUint32(address, value, true);
  }

  u64(address: number): bigint {
    return this.view.getBigUint64(address, true);
  }

  setU64(address: number, value: bigint): void {
    this.view.setBigUint64(address, value, true);
  }
}
