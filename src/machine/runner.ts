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
  RECORD_IFINDEX,
  RECORD_LENGTH,
  RECORD_META,
  RECORD_ORIGIN,
  RECORD_OUT,
  RECORD_OUT_LENGTH,
  RECORD_REDIRECT,
  RECORD_REDIRECT_KEY,
  RECORD_REDIRECT_MAP,
  RECORD_RESULT,
  RECORD_SIZE,
  RUN_BUFFER,
  RUN_BUFFER_SIZE,
  RUN_COUNT,
  RUN_CTX,
  RUN_CTX_SIZE,
  RUN_ENGINE,
  RUN_FUEL,
  RUN_HEADROOM,
  RUN_KEEP,
  RUN_KIND,
  RUN_LINEAR,
  RUN_META,
  RUN_NEXT,
  RUN_OUT,
  RUN_OUT_END,
  RUN_PROG,
  RUN_RECORDS,
  RUN_REPEAT,
  RUN_SIZE,
  RUN_SOCKET,
  RUN_TEMPLATE,
  STATUS_DONE,
  STATUS_PAUSED,
  SOCK_SIZE,
  XDP_FRAME_END,
} from "../core/layout.ts";
import { type PacketHook, contextRights } from "../hooks/index.ts";
import type { Engine } from "./engine.ts";
import type { BpfMap } from "./map.ts";
import type { LinearMemory } from "./memory.ts";
import type { Regions } from "./regions.ts";

/** The kernel gives an XDP frame one page: headroom, packet, skb_shared_info. Larger packets get whole pages. */
const PAGE = 4096;

/** Records of one call of the core; bounds the memory that a batch takes beside its packets. */
const MAX_RECORDS = 4096;

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
  mapAt(address: number): BpfMap | undefined;
  /** Whether what unwound the engine is the program's own way to end. */
  endedBy(error: unknown, cpu: number, engine: Engine): boolean;
  /** Turns whatever stopped a run into the error to report. */
  faultOf(program: P, cpu: number, cause: unknown): BpfError;
}

/** The buffers of one machine's runs; they grow as packets ask for it and are reused from run to run. */
export class Runner<P extends Runnable> {
  readonly #world: RunnerWorld<P>;
  readonly #run: number;
  readonly #records: number;
  readonly #ctx: number;
  readonly #template: number;
  readonly #rights: number;
  #rightsOf: PacketHook | undefined;
  #socket = 0;
  #input = { address: 0, size: 0 };
  #buffer = { address: 0, size: 0 };
  #out = { address: 0, size: 0 };

  constructor(world: RunnerWorld<P>, contextSize: number, records = MAX_RECORDS) {
    this.#world = world;
    const { memory } = world;
    this.#run = memory.alloc(RUN_SIZE, "run block");
    this.#records = memory.alloc(RECORD_SIZE * records, "packet records");
    this.#ctx = memory.alloc(CTX_HEADER + contextSize, "context") + CTX_HEADER;
    world.regions.add({ kind: "context", label: "context", address: this.#ctx, size: contextSize });
    this.#rights = memory.alloc(contextSize, "rights to the context");
    memory.setU32(this.#ctx + CTX_RIGHTS, this.#rights);
    this.#template = memory.alloc(contextSize, "context template");
  }

  /** Address of the context during and after a run. */
  get context(): number {
    return this.#ctx;
  }

  run(program: P, batch: Packets, options: BatchOptions): BatchResult {
    const results = new Uint32Array(batch.count);
    if (batch.count === 0) return { results, durationNs: 0 };
    const base = this.#order(program, batch, options);
    let durationNs = 0;
    for (let first = 0; first < batch.count; ) {
      const count = this.#lay(program, batch, options, base, first);
      durationNs += this.#drive(program, options, first, results, count);
      first += count;
    }
    return { results, durationNs };
  }

  /**
   * Puts one packet in place and the program at its first instruction; the caller runs the interpreter.
   *
   * @returns what reads the result, once the program is at its end: r0, and the packet for `onPacket`.
   */
  open(program: P, packet: Uint8Array, options: BatchOptions): () => number {
    const batch = { data: packet, offset: [0], capturedLength: [packet.length], count: 1 };
    this.#lay(program, batch, options, this.#order(program, batch, options), 0);
    const { memory, batchBegin, batchEnd } = this.#world;
    memory.setU32(this.#run + RUN_OUT, this.#out.address);
    batchBegin(options.cpu, this.#run);
    return () => {
      batchEnd(options.cpu, this.#run);
      const results = new Uint32Array(1);
      this.#collect(options, 0, results, 0, 1);
      return results[0] as number;
    };
  }

  /** Fills in the order but for what depends on the group of packets; the offset of the first packet. */
  #order(program: P, batch: Packets, options: BatchOptions): number {
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
    const run = this.#run;
    const set = (field: number, value: number): void => memory.setU32(run + field, value);
    set(RUN_PROG, program.descriptor);
    set(RUN_ENGINE, options.engine === "jit" ? ENGINE_JIT : ENGINE_INTERPRETER);
    set(RUN_KIND, options.kind);
    set(RUN_CTX, this.#ctx);
    set(RUN_CTX_SIZE, hook.context.size);
    set(RUN_TEMPLATE, this.#template);
    set(RUN_HEADROOM, hook.packet.headroom);
    set(RUN_RECORDS, this.#records);
    set(RUN_REPEAT, options.repeat ?? 1);
    set(RUN_KEEP, options.keep ?? 0);
    set(RUN_META, options.meta ?? 0);
    set(RUN_LINEAR, options.linear ?? 0);
    set(RUN_SOCKET, options.socket === true ? this.#socketOfPackets() : 0);
    memory.setU64(run + RUN_FUEL, options.fuel);
    return base;
  }

  /** Records of the packets from `first` on that fit the same size of frame; how many. */
  #lay({ packetHook: hook }: P, batch: Packets, options: BatchOptions, base: number, first: number): number {
    const group = this.#group(batch, first, hook);
    const { count } = group;
    // What a frame's own page does not take because it is told not to needs other ones.
    const more = options.linear === undefined ? 0 : Math.ceil(XDP_FRAME_END / PAGE) * PAGE;
    const frame = group.frame + more;
    this.#buffer = this.#room(this.#buffer, frame, "packet buffer");
    if (options.keep) this.#out = this.#room(this.#out, Math.max(OUT_SIZE, frame), "kept packets");
    const set = (field: number, value: number): void => this.#world.memory.setU32(this.#run + field, value);
    set(RUN_BUFFER, this.#buffer.address);
    set(RUN_BUFFER_SIZE, frame - hook.packet.tailReserve);
    set(RUN_COUNT, count);
    set(RUN_NEXT, 0);
    this.#fill(batch, base, first, count);
    return count;
  }

  /** A run of packets, from `first`, that fit the same size of frame. */
  #group(
    { capturedLength, count }: Packets,
    first: number,
    hook: PacketHook,
  ): { count: number; frame: number } {
    const overhead = hook.packet.headroom + hook.packet.tailReserve;
    const frameOf = (index: number): number =>
      Math.ceil((overhead + (capturedLength[index] as number)) / PAGE) * PAGE;
    const frame = frameOf(first);
    const limit = Math.min(count, first + MAX_RECORDS);
    let end = first + 1;
    while (end < limit && frameOf(end) === frame) end++;
    return { count: end - first, frame };
  }

  #fill({ offset, capturedLength }: Packets, base: number, first: number, count: number): void {
    const words = new Uint32Array(this.#world.memory.u8.buffer, this.#records, (count * RECORD_SIZE) / 4);
    words.fill(0);
    for (let index = first, at = 0; index < first + count; index++, at += RECORD_SIZE / 4) {
      const captured = capturedLength[index] as number;
      words[at + RECORD_ORIGIN / 4] = this.#input.address + (offset[index] as number) - base;
      words[at + RECORD_LENGTH / 4] = captured;
      words[at + RECORD_IFINDEX / 4] = 0;
    }
  }

  /** Calls the core until all records are done, handing out kept packets and faults as they come. */
  #drive(program: P, options: BatchOptions, first: number, results: Uint32Array, count: number): number {
    const { memory } = this.#world;
    const run = this.#run;
    let durationNs = 0;
    let done = 0;
    while (done < count) {
      memory.setU32(run + RUN_OUT, this.#out.address);
      memory.setU32(run + RUN_OUT_END, this.#out.address + this.#out.size);
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
      this.#collect(options, first, results, done, faulted ? next : Math.min(next, count));
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

  #collect(options: BatchOptions, first: number, results: Uint32Array, from: number, to: number): void {
    const { memory } = this.#world;
    const words = new Uint32Array(memory.u8.buffer, this.#records, (to * RECORD_SIZE) / 4);
    for (let index = from, at = (from * RECORD_SIZE) / 4; index < to; index++, at += RECORD_SIZE / 4) {
      results[first + index] = words[at + RECORD_RESULT / 4] as number;
      const out = words[at + RECORD_OUT / 4] as number;
      if (out === 0 || options.onPacket === undefined) continue;
      const length = words[at + RECORD_OUT_LENGTH / 4] as number;
      const metaLength = words[at + RECORD_META / 4] as number;
      options.onPacket({
        index: first + index,
        bytes: memory.u8.subarray(out - metaLength, out + length),
        metaLength,
      });
    }
  }

  /** What bpf_redirect or bpf_redirect_map asked for in the last single run, if it was called. */
  redirect(): Redirect | undefined {
    const { memory, mapAt } = this.#world;
    const ifindex = memory.u32(this.#records + RECORD_REDIRECT);
    const map = mapAt(memory.u32(this.#records + RECORD_REDIRECT_MAP));
    if (map !== undefined) return { ifindex, map, key: memory.u32(this.#records + RECORD_REDIRECT_KEY) };
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
