/** Filters as compiled code for the host: one packet, or many in one call. */
import { BpfError } from "../errors.ts";
import { CBPF_ANCILLARY, ancillaryAt } from "./ancillary.ts";
import { type CbpfProgram, cbpfRow } from "./instruction.ts";
import { MATCHER_BATCH, MATCHER_LAYOUT } from "./layout.ts";
import { type CbpfFlavor, type CbpfRunOptions, runCbpf } from "./run.ts";
import { checkStructure } from "./structure.ts";
import { compileCbpf } from "./wasm.ts";

const PAGE = 0x10000;
/** Room for packets that are not in the matcher's memory: they pass through the second-level cache. */
const STAGING = 0x40000;
/** Packets of which less than this part is read are copied by themselves, not with all that lies between. */
const SPARSE = 24;

/** What a match can be told beside the packet. */
export type CbpfMeta = Pick<CbpfRunOptions, "wireLength" | "ancillary" | "networkOffset">;

/** The same for many packets. */
export interface CbpfBatchMeta extends Omit<CbpfMeta, "wireLength"> {
  readonly wireLength?: ArrayLike<number> | undefined;
}

export interface MatcherOptions {
  /** Whose reading of the edges; default "linux". */
  readonly flavor?: CbpfFlavor | undefined;
  /** Memory that holds the packets; see {@link createPacketMemory}. */
  readonly memory?: PacketMemory | undefined;
}

/** Memory that matchers read packets from without copying them. */
export interface PacketMemory {
  readonly memory: WebAssembly.Memory;
  /** Yours to fill. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** A filter as compiled code. */
export interface CbpfMatcher {
  /** Whether it is compiled; programs with loops and netlink searches are interpreted. */
  readonly compiled: boolean;
  /** The WebAssembly module, if it is compiled. */
  readonly module: Uint8Array | undefined;
  /** The program's value for a packet: 0, or how many bytes to keep. */
  matches(packet: Uint8Array, meta?: CbpfMeta): number;
  /**
   * The program's value for each of `count` packets: `out[i]` belongs to the `length[i]` bytes of `data` from
   * `offset[i]` on.
   *
   * @returns how many packets matched
   */
  matchBatch(
    data: Uint8Array,
    offset: ArrayLike<number>,
    length: ArrayLike<number>,
    count: number,
    out: Uint32Array,
    meta?: CbpfBatchMeta,
  ): number;
}

/**
 * Memory for packets, up to 2 GiB: fill `data` (a file can be read straight into it), and matchers made with it work in
 * place.
 *
 * @throws BpfError code "memory" if there is none left
 * @example
 * const packets = createPacketMemory(1 << 20);
 * const matcher = compileMatcher(program, { memory: packets });
 * matcher.matchBatch(packets.data, offsets, lengths, offsets.length, values);
 */
export function createPacketMemory(bytes: number): PacketMemory {
  const pages = Math.ceil((MATCHER_LAYOUT.data + bytes) / PAGE);
  let memory: WebAssembly.Memory;
  try {
    if (!Number.isInteger(bytes) || bytes < 0) throw new RangeError("not a whole number");
    memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch (cause) {
    throw new BpfError("memory", `packet memory: ${bytes} bytes can't be had`, { cause });
  }
  return { memory, data: new Uint8Array(memory.buffer as ArrayBuffer, MATCHER_LAYOUT.data, bytes) };
}

/**
 * Compiles a filter to WebAssembly.
 *
 * @throws BpfError code "program" for an instruction that doesn't exist, a jump that leaves the program, a scratch cell
 * that doesn't exist, or an end without `ret`. Whether Linux would take the program, {@link checkCbpf} says.
 * @example
 * const matcher = compileMatcher([{ code: 0x06, jt: 0, jf: 0, k: 96 }]);
 * matcher.matches(new Uint8Array(60)); // 96
 */
export function compileMatcher(program: CbpfProgram, options: MatcherOptions = {}): CbpfMatcher {
  const { flavor = "linux" } = options;
  const fixed = program.map(({ code, jt, jf, k }) => ({ code, jt, jf, k: k >>> 0 }));
  const forward = checkStructure(fixed);
  const searches = fixed.some(
    ({ code, k }) => cbpfRow(code)?.shape === "abs" && ["nla", "nlan"].includes(ancillaryAt(k)?.name ?? ""),
  );
  if (!forward || (searches && flavor === "linux")) return new InterpretedMatcher(fixed, flavor);
  return new CompiledMatcher(fixed, flavor, options.memory);
}

function checkBatch(
  data: Uint8Array,
  offset: ArrayLike<number>,
  length: ArrayLike<number>,
  count: number,
  out: Uint32Array,
): void {
  const least = Math.min(offset.length, length.length, out.length);
  if (!Number.isInteger(count) || count < 0 || count > least) {
    throw new BpfError(
      "usage",
      `filter batch: count is ${count}, the shortest of its columns has ${least} rows`,
    );
  }
  if (data.length > 0x7fffffff) {
    throw new BpfError("usage", `filter batch: ${data.length} bytes are more than 2 GiB`);
  }
}

function outsideData(index: number): BpfError {
  return new BpfError("usage", `filter batch: packet ${index} does not lie inside the data`);
}

class InterpretedMatcher implements CbpfMatcher {
  readonly compiled = false;
  readonly module = undefined;
  readonly #program: CbpfProgram;
  readonly #flavor: CbpfFlavor;

  constructor(program: CbpfProgram, flavor: CbpfFlavor) {
    this.#program = program;
    this.#flavor = flavor;
  }

  matches(packet: Uint8Array, meta: CbpfMeta = {}): number {
    return runCbpf(this.#program, packet, { ...meta, flavor: this.#flavor });
  }

  matchBatch(
    data: Uint8Array,
    offset: ArrayLike<number>,
    length: ArrayLike<number>,
    count: number,
    out: Uint32Array,
    meta: CbpfBatchMeta = {},
  ): number {
    checkBatch(data, offset, length, count, out);
    let matched = 0;
    for (let index = 0; index < count; index++) {
      const start = offset[index] as number;
      const end = start + (length[index] as number);
      if (!(start >= 0 && start <= end && end <= data.length)) throw outsideData(index);
      const value = this.matches(data.subarray(start, end), {
        ...meta,
        wireLength: meta.wireLength?.[index],
      });
      out[index] = value;
      if (value !== 0) matched++;
    }
    return matched;
  }
}

type Run = (count: number, base: number, dataLength: number) => number;

class CompiledMatcher implements CbpfMatcher {
  readonly compiled = true;
  readonly module: Uint8Array;
  readonly #program: CbpfProgram;
  readonly #flavor: CbpfFlavor;
  /** The bytes of a packet that are read, and where they end. */
  readonly #reads: readonly (readonly [number, number])[];
  readonly #extent: number;
  readonly #readBytes: number;
  readonly #usesLength: boolean;
  readonly #given: PacketMemory | undefined;
  readonly #run: Run;
  readonly #words: Uint32Array;
  readonly #offsets: Uint32Array;
  readonly #lengths: Uint32Array;
  readonly #wireLengths: Uint32Array;
  readonly #values: Uint32Array;
  /** Memory of our own for packets from elsewhere. */
  readonly #staging: Uint8Array;
  readonly #view: DataView;
  /** Whether the ancillary words in memory are the default ones. */
  #metaSet = false;

  constructor(program: CbpfProgram, flavor: CbpfFlavor, given: PacketMemory | undefined) {
    const { bytes, reads, usesLength } = compileCbpf(program, flavor);
    this.module = bytes;
    this.#program = program;
    this.#flavor = flavor;
    this.#reads = reads;
    this.#extent = reads.at(-1)?.[1] ?? 0;
    this.#readBytes = reads.reduce((sum, [from, to]) => sum + to - from, 0);
    this.#usesLength = usesLength;
    this.#given = given;
    const packets = given ?? createPacketMemory(STAGING);
    const { buffer } = packets.memory;
    const column = (start: number): Uint32Array => new Uint32Array(buffer, start, MATCHER_BATCH);
    this.#words = new Uint32Array(buffer, 0, 64);
    this.#offsets = column(MATCHER_LAYOUT.offsets);
    this.#lengths = column(MATCHER_LAYOUT.lengths);
    this.#wireLengths = column(MATCHER_LAYOUT.wireLengths);
    this.#values = column(MATCHER_LAYOUT.values);
    this.#staging = given === undefined ? packets.data : new Uint8Array(0);
    this.#view = new DataView(this.#staging.buffer, this.#staging.byteOffset, this.#staging.byteLength);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
      env: { memory: packets.memory },
    });
    this.#run = instance.exports["run"] as Run;
  }

  matches(packet: Uint8Array, meta?: CbpfMeta): number {
    const { length } = packet;
    const copied = Math.min(length, this.#extent);
    if (copied > this.#staging.length) {
      return runCbpf(this.#program, packet, { ...meta, flavor: this.#flavor });
    }
    this.#setMeta(meta);
    const staging = this.#staging;
    // A loop over what is read beats set() below some 100 bytes.
    if (this.#readBytes > 100) staging.set(copied === length ? packet : packet.subarray(0, copied));
    else {
      for (const [from, to] of this.#reads) {
        const end = to < copied ? to : copied;
        for (let index = from; index < end; index++) staging[index] = packet[index] as number;
      }
    }
    this.#offsets[0] = 0;
    this.#lengths[0] = length;
    this.#wireLengths[0] = meta?.wireLength ?? length;
    this.#run(1, MATCHER_LAYOUT.data, length);
    return this.#values[0] as number;
  }

  matchBatch(
    data: Uint8Array,
    offset: ArrayLike<number>,
    length: ArrayLike<number>,
    count: number,
    out: Uint32Array,
    meta: CbpfBatchMeta = {},
  ): number {
    checkBatch(data, offset, length, count, out);
    this.#setMeta(meta);
    const { buffer } = this.#words;
    if (data.buffer === buffer) return this.#inPlace(data, offset, length, count, out, meta);
    if (this.#given !== undefined) {
      throw new BpfError(
        "usage",
        "filter batch: the matcher has a memory of its own, and the data is not in it",
      );
    }
    return this.#staged(data, offset, length, count, out, meta);
  }

  #setMeta(meta: CbpfMeta | CbpfBatchMeta | undefined): void {
    const ancillary = meta?.ancillary;
    const networkOffset = meta?.networkOffset;
    const special = ancillary !== undefined || networkOffset !== undefined;
    if (!special && this.#metaSet) return;
    this.#metaSet = !special;
    CBPF_ANCILLARY.forEach(({ name, offset }) => {
      this.#words[(MATCHER_LAYOUT.ancillary + offset) / 4] = ancillary?.[name] ?? 0;
    });
    this.#words[MATCHER_LAYOUT.networkOffset / 4] = networkOffset ?? 14;
  }

  #inPlace(
    data: Uint8Array,
    offset: ArrayLike<number>,
    length: ArrayLike<number>,
    count: number,
    out: Uint32Array,
    meta: CbpfBatchMeta,
  ): number {
    let matched = 0;
    for (let first = 0; first < count; first += MATCHER_BATCH) {
      const size = Math.min(MATCHER_BATCH, count - first);
      fill(this.#offsets, offset, first, size);
      fill(this.#lengths, length, first, size);
      if (this.#usesLength) fill(this.#wireLengths, meta.wireLength ?? length, first, size);
      matched += this.#collect(size, first, data.byteOffset, data.length, out);
    }
    return matched;
  }

  /**
   * Data from elsewhere goes through our memory, either whole stretches with all packets in them, or, where programs read
   * little of large packets, the beginning of each packet.
   */
  #staged(
    data: Uint8Array,
    offset: ArrayLike<number>,
    length: ArrayLike<number>,
    count: number,
    out: Uint32Array,
    meta: CbpfBatchMeta,
  ): number {
    const staging = this.#staging;
    let matched = 0;
    let index = 0;
    while (index < count) {
      const first = index;
      const start = offset[first] as number;
      let end = start;
      // Packets in the order of their bytes, as long as the stretch fits.
      while (index < count && index - first < MATCHER_BATCH) {
        const from = offset[index] as number;
        const to = from + (length[index] as number);
        if (!(from >= 0 && from <= to && to <= data.length)) throw outsideData(index);
        if (from < start || to - start > staging.length) break;
        end = Math.max(end, to);
        index++;
      }
      const size = index - first;
      if (size === 0) {
        const packet = data.subarray(start, start + (length[first] as number));
        const value = this.matches(packet, { ...meta, wireLength: meta.wireLength?.[first] });
        out[first] = value;
        if (value !== 0) matched++;
        index++;
        continue;
      }
      fill(this.#lengths, length, first, size);
      if (this.#usesLength) fill(this.#wireLengths, meta.wireLength ?? length, first, size);
      if (this.#readBytes * SPARSE < (end - start) / size && this.#extent * size <= staging.length) {
        this.#gather(data, offset, length, first, size);
      } else {
        staging.set(data.subarray(start, end));
        for (let row = 0; row < size; row++) this.#offsets[row] = (offset[first + row] as number) - start;
      }
      // A packet's true length may reach past what was copied of it: the program reads no more than its extent.
      matched += this.#collect(size, first, MATCHER_LAYOUT.data, 0x7fffffff, out);
    }
    return matched;
  }

  /** Copies what the program can read of each packet, a word at a time where that stays inside the packet. */
  #gather(
    data: Uint8Array,
    offset: ArrayLike<number>,
    length: ArrayLike<number>,
    first: number,
    size: number,
  ): void {
    const slot = this.#extent;
    const source = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const target = this.#view;
    for (let row = 0; row < size; row++) {
      const start = offset[first + row] as number;
      const captured = length[first + row] as number;
      const base = row * slot;
      for (const [from, to] of this.#reads) {
        const end = to < captured ? to : captured;
        let byte = from;
        for (; byte + 4 <= end; byte += 4)
          target.setUint32(base + byte, source.getUint32(start + byte, true), true);
        for (; byte < end; byte++) target.setUint8(base + byte, source.getUint8(start + byte));
      }
      this.#offsets[row] = base;
    }
  }

  /** Runs over the packets in the columns and takes their values over. */
  #collect(size: number, first: number, base: number, dataLength: number, out: Uint32Array): number {
    const matched = this.#run(size, base, dataLength);
    if (matched < 0) throw outsideData(first - matched - 1);
    out.set(size === MATCHER_BATCH ? this.#values : this.#values.subarray(0, size), first);
    return matched;
  }
}

/** Rows of a column, into the memory. */
function fill(column: Uint32Array, source: ArrayLike<number>, first: number, size: number): void {
  if (source instanceof Uint32Array) {
    column.set(source.subarray(first, first + size));
    return;
  }
  for (let row = 0; row < size; row++) column[row] = source[first + row] as number;
}
