/**
 * Runs programs over packets: lays a batch of packets out in linear memory and lets the core's batch loop run them, so
 * that no JavaScript runs between two packets. A single run is a batch of one.
 */
import { milliseconds } from "../elapsed.ts";
import { BpfError } from "../errors.ts";
import {
  CTX_HEADER,
  CTX_RIGHTS,
  ENGINE_INTERPRETER,
  ENGINE_JIT,
  EXEC_REDIRECT,
  EXEC_REDIRECT_KEY,
  EXEC_REDIRECT_MAP,
  KEPT_INDEX,
  KEPT_META,
  KEPT_OUT,
  KEPT_OUT_LENGTH,
  KEPT_SIZE,
  RUN_BASE,
  RUN_BUFFER,
  RUN_BUFFER_SIZE,
  RUN_COUNT,
  RUN_CTX,
  RUN_CTX_SIZE,
  RUN_ENGINE,
  RUN_FUEL,
  RUN_HEADROOM,
  RUN_INPUT,
  RUN_INPUT_SIZE,
  RUN_KEEP,
  RUN_KEPT,
  RUN_KEPT_COUNT,
  RUN_KIND,
  RUN_LENGTHS,
  RUN_LINEAR,
  RUN_META,
  RUN_NEXT,
  RUN_OFFSETS,
  RUN_OUT,
  RUN_OUT_END,
  RUN_PROG,
  RUN_RECORDS,
  RUN_REPEAT,
  RUN_RESERVE,
  RUN_RESULTS,
  RUN_SIZE,
  RUN_SOCKET,
  RUN_STRIDE,
  RUN_TEMPLATE,
  STATUS_DONE,
  STATUS_PAUSED,
  SOCK_SIZE,
} from "../core/layout.ts";
import { type PacketHook, contextRights } from "../hooks/index.ts";
import type { Engine } from "./engine.ts";
import type { BpfMap } from "./map.ts";
import type { LinearMemory } from "./memory.ts";
import type { Regions } from "./regions.ts";

/** The kernel gives an XDP frame one page: headroom, packet, skb_shared_info. Larger packets get whole pages. */
const PAGE = 4096;

/** Packets of one call of the core; bounds the memory that a batch takes beside its packets. */
const MAX_PACKETS = 4096;

/** Room for kept packets between two pauses: the largest packet and then some. */
const OUT_SIZE = 1 << 20;

/** Packets as a capture reader gives them: one buffer, and where each packet lies in it, in ascending order. */
export interface Packets {
  readonly data: Uint8Array;
  readonly offset: ArrayLike<number>;
  readonly capturedLength: ArrayLike<number>;
  readonly count: number;
}

/** A packet that the run let through (or all of them, if asked). The bytes are a view: copy what you keep. */
export interface KeptPacket {
  readonly index: number;
  /** Metadata area, then the packet. */
  readonly bytes: Uint8Array;
  readonly metaLength: number;
}

export interface BatchOptions {
  readonly engine: Engine;
  readonly cpu: number;
  readonly fuel: bigint;
  /** KIND_ constant: what the context looks like. */
  readonly kind: number;
  readonly repeat?: number;
  /** Of XDP: bytes of metadata that each packet's bytes begin with, and how many with them lie outside of fragments. */
  readonly meta?: number;
  readonly linear?: number;
  /** Bytes that the context starts from (hooks/context.ts). */
  readonly template: Uint8Array;
  /** Of socket buffers: each packet has a socket. */
  readonly socket?: boolean;
  /** Which packets are given to `onPacket`: bit min(result, 31). */
  readonly keep?: number;
  readonly onPacket?: (packet: KeptPacket) => void;
  /** A run that was stopped. Without it the batch ends with the error. */
  readonly onFault?: (index: number, error: BpfError) => void;
}

export interface BatchResult {
  /** r0 of each packet's run, its low 32 bits; 0 where the run was stopped. */
  readonly results: Uint32Array;
  /** Nanoseconds inside the batch loop, the copying of packets into their buffer included. */
  readonly durationNs: number;
}

/** What the runner needs to know of a program. */
export interface Runnable {
  readonly descriptor: number;
  readonly packetHook: PacketHook;
}

/** Where a program sent its packet. */
export interface Redirect {
  /** The interface; 0 if the target is none, or several. */
  readonly ifindex: number;
  /** By bpf_redirect_map: the device, CPU or socket map and the key in it. */
  readonly map?: BpfMap;
  readonly key?: number;
}

/** What the runner needs of the core and its machine. */
export interface RunnerWorld<P> {
  readonly memory: LinearMemory;
  readonly regions: Regions;
  runBatch(cpu: number, run: number): number;
  batchBegin(cpu: number, run: number): void;
  batchEnd(cpu: number, run: number): void;
  /** Address of a CPU's execution state. */
  execOf(cpu: number): number;
  mapAt(address: number): BpfMap | undefined;
  /** Whether what unwound the engine is the program's own way to end. */
  endedBy(error: unknown, cpu: number, engine: Engine): boolean;
  /** Turns whatever stopped a run into the error to report. */
  faultOf(program: P, cpu: number, cause: unknown): BpfError;
}

/** Offsets, lengths and results of the packets under way, each an array of u32, then the list of those that are kept. */
interface Lists {
  readonly offsets: number;
  readonly lengths: number;
  readonly results: number;
  readonly kept: number;
}

/** The buffers of one machine's runs; they grow as packets ask for it and are reused from run to run. */
export class Runner<P extends Runnable> {
  readonly #world: RunnerWorld<P>;
  readonly #contextSize: number;
  readonly #most: number;
  readonly #run: number;
  readonly #lists: Lists;
  readonly #ctx: number;
  readonly #template: number;
  readonly #rights: number;
  #rightsOf: PacketHook | undefined;
  #socket = 0;
  #input = { address: 0, size: 0 };
  #buffer = { address: 0, size: 0 };
  #out = { address: 0, size: 0 };
  #cpu = 0;
  /** While a batch is under way, its callbacks may run programs: with buffers of their own. */
  #busy = false;
  #inner: Runner<P> | undefined;
  /** Who has made the last run. */
  #last: Runner<P> = this;

  constructor(world: RunnerWorld<P>, contextSize: number, packets = MAX_PACKETS) {
    this.#world = world;
    this.#contextSize = contextSize;
    this.#most = packets;
    const { memory } = world;
    this.#run = memory.alloc(RUN_SIZE, "run block");
    const offsets = memory.alloc((12 + KEPT_SIZE) * packets, "lists of packets");
    this.#lists = {
      offsets,
      lengths: offsets + 4 * packets,
      results: offsets + 8 * packets,
      kept: offsets + 12 * packets,
    };
    this.#ctx = memory.alloc(CTX_HEADER + contextSize, "context") + CTX_HEADER;
    world.regions.add({ kind: "context", label: "context", address: this.#ctx, size: contextSize });
    this.#rights = memory.alloc(contextSize, "rights to the context");
    memory.setU32(this.#ctx + CTX_RIGHTS, this.#rights);
    this.#template = memory.alloc(contextSize, "context template");
  }

  /** Address of the context during and after a run. */
  get context(): number {
    return this.#last.#ctx;
  }

  run(program: P, batch: Packets, options: BatchOptions): BatchResult {
    if (this.#busy) {
      this.#inner ??= new Runner(this.#world, this.#contextSize, this.#most);
      const result = this.#inner.run(program, batch, options);
      this.#last = this.#inner.#last;
      return result;
    }
    this.#last = this;
    const results = new Uint32Array(batch.count);
    if (batch.count === 0) return { results, durationNs: 0 };
    this.#order(program, batch, options);
    let durationNs = 0;
    this.#busy = true;
    try {
      for (let first = 0; first < batch.count; first += this.#most) {
        const count = Math.min(this.#most, batch.count - first);
        this.#lay(batch, first, count);
        durationNs += this.#drive(program, batch, options, first, results, count);
      }
    } finally {
      this.#busy = false;
    }
    this.#last = this;
    return { results, durationNs };
  }

  /**
   * Puts one packet in place and the program at its first instruction; the caller runs the interpreter.
   *
   * @returns what reads the result, once the program is at its end: r0, and the packet for `onPacket`.
   */
  open(program: P, packet: Uint8Array, options: BatchOptions): () => number {
    const batch = { data: packet, offset: [0], capturedLength: [packet.length], count: 1 };
    this.#last = this;
    this.#order(program, batch, options);
    this.#lay(batch, 0, 1);
    this.#fit(program, batch, options, 0);
    const { batchBegin, batchEnd } = this.#world;
    this.#empty();
    batchBegin(options.cpu, this.#run);
    return () => {
      batchEnd(options.cpu, this.#run);
      const results = new Uint32Array(1);
      this.#collect(options, 0, results, 0, 1);
      return results[0] as number;
    };
  }

  /** Fills in the order but for what depends on the packets under way. */
  #order(program: P, batch: Packets, options: BatchOptions): void {
    const { memory } = this.#world;
    const { packetHook: hook } = program;
    const last = batch.count - 1;
    const base = batch.offset[0] as number;
    const bytes = batch.data.subarray(
      base,
      (batch.offset[last] as number) + (batch.capturedLength[last] as number),
    );
    this.#input = this.#room(this.#input, bytes.length, "packets");
    memory.write(this.#input.address, bytes);
    memory.write(this.#template, options.template);
    if (this.#rightsOf !== hook) {
      memory.write(this.#rights, contextRights(hook.context));
      this.#rightsOf = hook;
    }
    this.#cpu = options.cpu;
    const run = this.#run;
    const set = (field: number, value: number): void => memory.setU32(run + field, value);
    set(RUN_PROG, program.descriptor);
    set(RUN_ENGINE, options.engine === "jit" ? ENGINE_JIT : ENGINE_INTERPRETER);
    set(RUN_KIND, options.kind);
    set(RUN_CTX, this.#ctx);
    set(RUN_CTX_SIZE, hook.context.size);
    set(RUN_TEMPLATE, this.#template);
    set(RUN_HEADROOM, hook.packet.headroom);
    set(RUN_RESERVE, hook.packet.tailReserve);
    set(RUN_RECORDS, 0);
    set(RUN_OFFSETS, this.#lists.offsets);
    set(RUN_LENGTHS, this.#lists.lengths);
    set(RUN_RESULTS, this.#lists.results);
    set(RUN_STRIDE, 4);
    set(RUN_INPUT, this.#input.address);
    set(RUN_INPUT_SIZE, bytes.length);
    set(RUN_BASE, base);
    set(RUN_KEPT, this.#lists.kept);
    set(RUN_REPEAT, options.repeat ?? 1);
    set(RUN_KEEP, options.keep ?? 0);
    set(RUN_META, options.meta ?? 0);
    set(RUN_LINEAR, options.linear ?? 0);
    set(RUN_SOCKET, options.socket === true ? this.#socketOfPackets() : 0);
    memory.setU64(run + RUN_FUEL, options.fuel);
  }

  /** Lists `count` packets from `first` on. */
  #lay({ offset, capturedLength }: Packets, first: number, count: number): void {
    const { memory } = this.#world;
    memory.setU32(this.#run + RUN_COUNT, count);
    memory.setU32(this.#run + RUN_NEXT, 0);
    copyNumbers(new Uint32Array(memory.u8.buffer, this.#lists.offsets, count), offset, first);
    copyNumbers(new Uint32Array(memory.u8.buffer, this.#lists.lengths, count), capturedLength, first);
  }

  /** Makes room for a packet of the batch, and for what is kept of it. */
  #fit({ packetHook: hook }: P, { capturedLength }: Packets, options: BatchOptions, index: number): void {
    const { memory } = this.#world;
    const overhead = hook.packet.headroom + hook.packet.tailReserve;
    // What a frame's own page does not take because it is told not to needs other ones.
    const more = options.linear === undefined ? 0 : PAGE;
    // A packet that is longer than all of them are together is no packet.
    const length = Math.min(capturedLength[index] as number, memory.u32(this.#run + RUN_INPUT_SIZE));
    const size = Math.ceil((overhead + length) / PAGE) * PAGE + more;
    this.#buffer = this.#room(this.#buffer, size, "packet buffer");
    if (options.keep)
      this.#out = this.#room(this.#out, Math.max(OUT_SIZE, this.#buffer.size), "kept packets");
    memory.setU32(this.#run + RUN_BUFFER, this.#buffer.address);
    memory.setU32(this.#run + RUN_BUFFER_SIZE, this.#buffer.size);
  }

  /** Nothing is kept yet. */
  #empty(): void {
    const { memory } = this.#world;
    memory.setU32(this.#run + RUN_OUT, this.#out.address);
    memory.setU32(this.#run + RUN_OUT_END, this.#out.address + this.#out.size);
    memory.setU32(this.#run + RUN_KEPT_COUNT, 0);
  }

  /** Calls the core until the listed packets are done, handing out kept packets and faults as they come. */
  #drive(
    program: P,
    batch: Packets,
    options: BatchOptions,
    first: number,
    results: Uint32Array,
    count: number,
  ): number {
    const { memory } = this.#world;
    const run = this.#run;
    let durationNs = 0;
    let done = 0;
    while (done < count) {
      this.#fit(program, batch, options, first + done);
      this.#empty();
      let fault: unknown;
      let faulted = false;
      let threw = false;
      const start = milliseconds();
      try {
        const status = this.#world.runBatch(options.cpu, run);
        faulted = status !== STATUS_DONE && status !== STATUS_PAUSED;
      } catch (error) {
        threw = this.#world.endedBy(error, options.cpu, options.engine);
        if (threw) this.#world.batchEnd(options.cpu, run);
        else faulted = true;
        fault = error;
      }
      durationNs += (milliseconds() - start) * 1e6;
      if (threw) memory.setU32(run + RUN_NEXT, memory.u32(run + RUN_NEXT) + 1);
      const next = memory.u32(run + RUN_NEXT);
      this.#collect(options, first, results, done, next);
      done = next;
      if (!faulted) continue;
      const error = this.#world.faultOf(program, options.cpu, fault);
      if (options.onFault === undefined) throw error;
      options.onFault(first + next, error);
      done = next + 1;
      memory.setU32(run + RUN_NEXT, done);
    }
    return durationNs;
  }

  /** Results of the listed packets `from` to `to`, and those that were kept. */
  #collect(options: BatchOptions, first: number, results: Uint32Array, from: number, to: number): void {
    const { memory } = this.#world;
    const { onPacket } = options;
    const words = (address: number, count: number): Uint32Array =>
      new Uint32Array(memory.u8.buffer, address, count);
    results.set(words(this.#lists.results + 4 * from, to - from), first + from);
    if (onPacket === undefined) return;
    // A copy, since whoever is given a packet may run others, and the memory may grow.
    const kept = words(this.#lists.kept, (memory.u32(this.#run + RUN_KEPT_COUNT) * KEPT_SIZE) / 4).slice();
    for (let at = 0; at < kept.length; at += KEPT_SIZE / 4) {
      const field = (offset: number): number => kept[at + offset / 4] as number;
      const out = field(KEPT_OUT);
      const metaLength = field(KEPT_META);
      onPacket({
        index: first + field(KEPT_INDEX),
        bytes: memory.u8.subarray(out - metaLength, out + field(KEPT_OUT_LENGTH)),
        metaLength,
      });
    }
  }

  /** What bpf_redirect or bpf_redirect_map asked for in the last single run, if it was called. */
  redirect(): Redirect | undefined {
    const { memory, mapAt, execOf } = this.#world;
    const exec = execOf(this.#last.#cpu);
    const ifindex = memory.u32(exec + EXEC_REDIRECT);
    const map = mapAt(memory.u32(exec + EXEC_REDIRECT_MAP));
    if (map !== undefined) return { ifindex, map, key: memory.u32(exec + EXEC_REDIRECT_KEY) };
    return ifindex === 0 ? undefined : { ifindex };
  }

  #socketOfPackets(): number {
    if (this.#socket === 0)
      this.#socket = this.#world.memory.lend(SOCK_SIZE, "socket of the packet", "object");
    return this.#socket;
  }

  #room(
    area: { address: number; size: number },
    size: number,
    what: string,
  ): { address: number; size: number } {
    if (area.size >= size && area.address !== 0) return area;
    const { memory } = this.#world;
    if (area.address !== 0) memory.free(area.address);
    const room = Math.max(size, 64);
    return { address: memory.alloc(room, what, 64), size: room };
  }
}

/** As many numbers as there is room for, from `first` on. */
function copyNumbers(to: Uint32Array, from: ArrayLike<number>, first: number): void {
  if (from instanceof Uint32Array) to.set(from.subarray(first, first + to.length));
  else for (let index = 0; index < to.length; index++) to[index] = from[first + index] as number;
}
