import { KIND_SKB_LINK, KIND_SKB_NETWORK, SKB_SK } from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import {
  type ContextValues,
  type Hook,
  type PacketHook,
  contextTemplate,
  decodeContext,
  returnName,
  takesPackets,
} from "../hooks/index.ts";
import type { ProgramType } from "../uapi/index.ts";
import type { Engine } from "./engine.ts";
import type { ProgramImage } from "./image.ts";
import { type PreparedCall, PreparedPacket } from "./prepared.ts";
import type { Safety } from "./safety.ts";
import type { BatchOptions, BatchResult, KeptPacket, Packets, Redirect, Runner } from "./runner.ts";
import type { EventInput, EventResult, SocketInput } from "./run/input.ts";
import type { EventRun, EventRunner } from "./run/runner.ts";
import type { Subject } from "./run/types.ts";
import type { Socket } from "./world/sockets.ts";
import { Debugger, type DebugWorld } from "./debug.ts";
import {
  checkFragments,
  eventInput,
  frameArea,
  isRunKey,
  looksAtSocket,
  packetContext,
  withMetadata,
} from "./packet-context.ts";
import { Outcome } from "./run/outcome.ts";
import { placeSocket, setPointer } from "./run/sockets.ts";

/**
 * What a run is given: a packet, for the types that packets go through; for the others the parts of {@link EventInput} that
 * their type takes.
 */
export interface RunInput extends Omit<EventInput, "socket"> {
  /** The frame from its link header on; of netfilter from its network header on. */
  readonly packet?: Uint8Array;
  /** Context fields that do not follow from the packet, by their uapi names: `{ ingress_ifindex: 3 }`. */
  readonly context?: ContextValues;
  /** How often to run; packet and context are the same for each run, maps go on. Default 1. */
  readonly repeat?: number;
  /** Which of the machine's CPUs runs it; per-CPU maps see it. Default 0. */
  readonly cpu?: number;
  readonly engine?: Engine;
  readonly layer?: Layer;
  /**
   * The socket that it is about: fields of struct bpf_sock, and its ends as text. A packet with a `struct __sk_buff` has one whose ends are its
   * addresses, as in the kernel's test runs, unless this says which, or null: none.
   */
  readonly socket?: SocketInput | null;
  /** Of XDP: what an earlier program has left in the area before the packet, a multiple of 4 bytes, 252 at most. */
  readonly metadata?: Uint8Array;
  /**
   * Of XDP: how many bytes of the packet lie in the frame's own page; the others come in fragments, which the program reaches by
   * helpers only. Default: as many as fit, 3520.
   */
  readonly linear?: number;
}

/**
 * Where the data of a socket filter begins: at the network header, as at most sockets and in BPF_PROG_TEST_RUN (the
 * default), or at the link header, as at a packet socket of type SOCK_RAW. Other program types have one answer.
 */
export type Layer = "network" | "link";

/** What a run leaves; of the last one when there were several. */
export interface RunResult extends EventResult {
  /** All of r0. */
  readonly r0: bigint;
  /** r0 as the program type reads it: unsigned 32 bits, signed for sched_cls. */
  readonly returnValue: number;
  /** "XDP_DROP", "TC_ACT_OK", ... */
  readonly returnName: string;
  /** The packet, rewritten or not, without metadata. */
  readonly packet: Uint8Array;
  /** The metadata area before the packet (XDP), empty if there is none. */
  readonly metadata: Uint8Array;
  /** All fields of the context after the run. `data` and its kin are addresses in the machine's memory. */
  readonly context: Readonly<Record<string, number | bigint | readonly number[]>>;
  /** Where bpf_redirect or bpf_redirect_map sent the packet, if it was called. */
  readonly redirect: Redirect | undefined;
  /** The socket of the world that the context holds after the run, such as the one that bpf_sk_assign has given the packet. */
  readonly socket: Socket | undefined;
  /** Mean time of one run, in nanoseconds. */
  readonly durationNs: number;
  /** Whether a verifier has proved the program safe. */
  readonly verified: boolean;
  readonly safety: Safety;
}

/** Options of a run over many packets. */
export interface PacketsOptions {
  readonly context?: ContextValues;
  readonly cpu?: number;
  readonly engine?: Engine;
  readonly layer?: Layer;
  /** Receives packets after their run; by default those that go on. */
  readonly onPacket?: (packet: KeptPacket) => void;
  /** Receive every packet, dropped ones too. */
  readonly keepAll?: boolean;
  /** Told of each run that was stopped; without it the first such error is thrown. */
  readonly onFault?: (index: number, error: BpfError) => void;
}

/** What a program needs of the machine that it lives in. */
export interface ProgramHost {
  readonly runner: Runner<Program>;
  readonly events: EventRunner;
  readonly cpus: number;
  /** Where programs run unless a call says otherwise: 0, or the CPU of a thread that has joined. */
  readonly cpu: number;
  readonly engine: Engine;
  readonly fuel: bigint;
  readMemory(address: number, length: number): Uint8Array;
  /** The world's socket whose struct bpf_sock lies at an address. */
  socketAt(address: number): Socket | undefined;
  compile(program: Program): Compilation;
  /** Runs with r1 and r2 given; r0. */
  call(program: Program, engine: Engine, cpu: number, r1: number, r2: number): bigint;
  prepare(program: Program, engine: Engine, cpu: number): PreparedCall;
  /** With buffers of its own, for one packet at a time. */
  createRunner(): Runner<Program>;
  debug(cpu: number): DebugWorld;
}

/** What is known of a program's compilation. */
export interface Compilation {
  /** The WebAssembly module. */
  readonly module: Uint8Array;
  /** Milliseconds from instructions to a module that runs. */
  readonly ms: number;
}

/** A packet after its run: metadata, then the packet. */
interface PacketLeft {
  readonly bytes: Uint8Array;
  readonly metaLength: number;
}

/** A loaded program. */
export class Program {
  readonly name: string;
  readonly type: ProgramType | undefined;
  /** The flat program: main function, subprograms, references. */
  readonly image: ProgramImage;
  /** Address of its descriptor in the machine's memory. */
  readonly descriptor: number;
  /** What is known of it, and so what is checked while it runs. */
  readonly safety: Safety;
  readonly #hook: Hook | undefined;
  readonly #host: ProgramHost;
  readonly #socketAt: (address: number) => Socket | undefined;
  #subject: Subject | undefined;
  #readsSocket: boolean | undefined;

  constructor(
    host: ProgramHost,
    image: ProgramImage,
    hook: Hook | undefined,
    descriptor: number,
    safety: Safety,
  ) {
    this.#host = host;
    this.#socketAt = (address) => host.socketAt(address);
    this.safety = safety;
    this.#hook = hook;
    this.name = image.name;
    this.type = image.type;
    this.image = image;
    this.descriptor = descriptor;
  }

  /** Whether a verifier has proved it safe. */
  get verified(): boolean {
    return this.safety === "verified";
  }

  /** What its return values and context mean. */
  get hook(): Hook {
    if (this.#hook !== undefined) return this.#hook;
    throw new BpfError("usage", `program '${this.name}': it has no type: use call()`, {
      where: { program: this.name },
    });
  }

  /** The same, of a type that packets go through. */
  get packetHook(): PacketHook {
    const { hook } = this;
    if (takesPackets(hook)) return hook;
    throw new BpfError(
      "unsupported",
      `program '${this.name}': ${hook.type} programs do not run over packets`,
      {
        where: { program: this.name },
      },
    );
  }

  /**
   * Runs the program over one packet, as BPF_PROG_TEST_RUN does.
   *
   * @throws BpfError code "context" for an input that the type cannot take, "fault" if the run was stopped.
   * @example
   * const { returnName, packet } = programs.firewall.run({ packet: frame, context: { ingress_ifindex: 2 } });
   */
  run(input: RunInput = {}): RunResult {
    const { packet, repeat = 1, cpu = this.#host.cpu, engine = this.#host.engine, metadata, linear } = input;
    const { hook } = this;
    if (!Number.isInteger(repeat) || repeat < 1 || repeat > 0xffffffff) {
      throw new BpfError(
        "usage",
        `program '${this.name}': repeat must be a whole number from 1 on, not ${repeat}`,
      );
    }
    const area = frameArea(this.name, hook, metadata, linear);
    if (!takesPackets(hook)) {
      this.#checkCpu(cpu);
      if (engine === "jit") this.compile();
      const given = eventInput(this.name, input);
      const done = this.#host.events.run(this.#subjectOf(hook), given, repeat, (r1) =>
        this.#host.call(this, engine, cpu, r1, 0),
      );
      return this.#eventResult(hook, packet, done);
    }
    const { layer, socket } = input;
    let kept: PacketLeft | undefined;
    const bytes = this.#packetOf(hook, input);
    const data = metadata === undefined ? bytes : withMetadata(metadata, bytes);
    const batch = { data, offset: [0], capturedLength: [data.length], count: 1 };
    try {
      const { results, durationNs } = this.#runner(batch, engine, cpu, {
        ...this.#packetOptions(hook, layer, input.context, bytes, socket, (left) => {
          kept = left;
        }),
        ...area,
        repeat,
      });
      return this.#packetResult(hook, results[0] as number, kept, durationNs / repeat);
    } finally {
      if (socket) this.#host.events.means.scratch.free();
    }
  }

  /**
   * Begins a run that the caller drives: step by step, with a look at registers and memory in between.
   *
   * @throws BpfError as {@link run} does for its input.
   * @example
   * const debug = programs.firewall.debug({ packet });
   * debug.runTo("firewall.bpf.c:120");
   * console.log(debug.source, debug.register(1));
   * debug.finish().returnName;
   */
  debug(input: RunInput = {}): Debugger {
    const { packet, cpu = 0, layer, metadata, linear, socket } = input;
    const { hook } = this;
    const area = frameArea(this.name, hook, metadata, linear);
    this.#checkCpu(cpu);
    const world = this.#host.debug(cpu);
    if (!takesPackets(hook)) {
      const given = eventInput(this.name, input);
      const open = this.#host.events.open(this.#subjectOf(hook), given);
      open.reset();
      world.begin(this.descriptor, open.address);
      return new Debugger(world, this, {
        result: (r0) => this.#eventResult(hook, packet, open.finish(r0, 0)),
        release: () => open.release(),
      });
    }
    let kept: PacketLeft | undefined;
    const bytes = this.#packetOf(hook, input);
    const data = metadata === undefined ? bytes : withMetadata(metadata, bytes);
    const finish = this.#host.runner.open(this, data, {
      ...this.#packetOptions(hook, layer, input.context, bytes, socket, (left) => {
        kept = left;
      }),
      ...area,
      engine: "interpreter",
      cpu,
      fuel: this.#host.fuel,
    });
    return new Debugger(world, this, {
      result: () => this.#packetResult(hook, finish(), kept, 0),
      release: () => {
        if (socket) this.#host.events.means.scratch.free();
      },
    });
  }

  #packetOf(hook: Hook, input: RunInput): Uint8Array {
    const { packet } = input;
    if (packet === undefined) {
      throw new BpfError("context", `program '${this.name}': ${hook.type} programs are run over a packet`);
    }
    const foreign = Object.keys(input).find(
      (name) => !isRunKey(name) && name !== "context" && name !== "socket",
    );
    if (foreign !== undefined) {
      throw new BpfError(
        "context",
        `program '${this.name}': ${hook.type} programs take no '${foreign}'; they take packet, context`,
      );
    }
    if (hook.type === "xdp") checkFragments(this.name, packet, input.linear);
    return packet;
  }

  #packetOptions(
    hook: Hook,
    layer: Layer | undefined,
    context: ContextValues | undefined,
    packet: Uint8Array,
    socket: SocketInput | null | undefined,
    keep: (left: PacketLeft) => void,
  ): Omit<BatchOptions, "engine" | "cpu" | "fuel"> {
    const kind = this.#kind(layer);
    const template = contextTemplate(hook, packetContext(hook, context, kind, packet));
    if (socket && hook.context.struct !== "__sk_buff")
      throw new BpfError("context", `program '${this.name}': ${hook.type} programs take no 'socket'`);
    if (socket) setPointer(template, SKB_SK, placeSocket(this.#subjectOf(hook), socket));
    return {
      kind,
      template,
      socket: socket === undefined && this.readsSocket,
      keep: 0xffffffff,
      onPacket: ({ bytes, metaLength }) => keep({ bytes: bytes.slice(), metaLength }),
    };
  }

  #packetResult(hook: Hook, r0: number, kept: PacketLeft | undefined, durationNs: number): RunResult {
    const value = this.readResult(r0);
    const { bytes, metaLength } = kept ?? { bytes: NOTHING, metaLength: 0 };
    const fields = decodeContext(hook, this.#host.readMemory(this.#host.runner.context, hook.context.size));
    return {
      returnValue: value,
      r0: BigInt(r0),
      returnName: returnName(hook, value, this.image.attachType),
      packet: bytes.subarray(metaLength),
      metadata: bytes.subarray(0, metaLength),
      context: fields,
      redirect: this.#host.runner.redirect(),
      socket: this.#host.socketAt(Number(fields["sk"] ?? 0)),
      durationNs,
      verified: this.verified,
      safety: this.safety,
    };
  }

  /** Whether it may look at the socket of a packet. */
  get readsSocket(): boolean {
    this.#readsSocket ??= this.#hook?.context.struct === "__sk_buff" && looksAtSocket(this.image);
    return this.#readsSocket;
  }

  #subjectOf(hook: Hook): Subject {
    const { image } = this;
    this.#subject ??= {
      name: this.name,
      type: hook.type,
      hook,
      attach: image.attachType,
      image,
      types: image.types ?? [],
      ...this.#host.events.means,
    };
    return this.#subject;
  }

  #eventResult(hook: Hook, packet: Uint8Array | undefined, done: EventRun): RunResult {
    const { r0, context, durationNs, extra } = done;
    const word = Number(BigInt.asUintN(32, r0));
    const name = returnName(hook, hook.signed ? word | 0 : word, this.image.attachType);
    const parts = { hook, r0, returnName: name, packet, durationNs, safety: this.safety, context, extra };
    return new Outcome(parts, this.#socketAt);
  }

  /**
   * Runs the program over many packets inside WebAssembly, without a JavaScript call for each.
   *
   * @returns r0 of each run, its low 32 bits (see {@link readResult}).
   */
  runPackets(batch: Packets, options: PacketsOptions = {}): BatchResult {
    const { packetHook: hook } = this;
    return this.#runner(batch, options.engine ?? this.#host.engine, options.cpu ?? this.#host.cpu, {
      kind: this.#kind(options.layer),
      template: contextTemplate(hook, options.context),
      socket: this.readsSocket,
      ...(options.onPacket === undefined
        ? {}
        : { onPacket: options.onPacket, keep: options.keepAll === true ? 0xffffffff : hook.packet.passMask }),
      ...(options.onFault === undefined ? {} : { onFault: options.onFault }),
    });
  }

  /** The KIND_ constant of the context. */
  #kind(layer: Layer | undefined): number {
    const { packetHook: hook } = this;
    if (layer === undefined) return hook.packet.kind;
    if (hook.type !== "socket_filter") {
      throw new BpfError(
        "usage",
        `program '${this.name}': layer is for socket filters, not for ${hook.type}`,
      );
    }
    return layer === "link" ? KIND_SKB_LINK : KIND_SKB_NETWORK;
  }

  #runner(
    batch: Packets,
    engine: Engine,
    cpu: number,
    options: Omit<BatchOptions, "engine" | "cpu" | "fuel">,
  ): BatchResult {
    this.#checkCpu(cpu);
    if (engine === "jit") this.compile();
    return this.#host.runner.run(this, batch, { engine, cpu, fuel: this.#host.fuel, ...options });
  }

  /**
   * Compiles the program to WebAssembly; the first run with the JIT does it otherwise.
   *
   * @throws BpfError code "unsupported" if the JavaScript engine's limits do not allow it.
   */
  compile(): Compilation {
    return this.#host.compile(this);
  }

  /** A 32-bit result as the program type reads it. */
  readResult(result: number): number {
    return this.hook.signed ? result | 0 : result >>> 0;
  }

  /**
   * Runs the program with two bare arguments, whatever its type: r1 and r2, for instance an address and a length.
   *
   * @returns r0, unsigned.
   */
  call(
    r1 = 0,
    r2 = 0,
    { cpu = this.#host.cpu, engine = this.#host.engine }: { cpu?: number; engine?: Engine } = {},
  ): bigint {
    this.#checkCpu(cpu);
    if (engine === "jit") this.compile();
    return this.#host.call(this, engine, cpu, r1, r2);
  }

  /**
   * The low-level way to call the program again and again with two bare arguments: everything is set up once, and a call
   * allocates nothing.
   *
   * @example
   * const prepared = program.prepare();
   * prepared.run(address, length); // r0, its low 32 bits, unsigned
   */
  prepare({
    cpu = this.#host.cpu,
    engine = this.#host.engine,
  }: {
    cpu?: number;
    engine?: Engine;
  } = {}): PreparedCall {
    this.#checkCpu(cpu);
    if (engine === "jit") this.compile();
    return this.#host.prepare(this, engine, cpu);
  }

  /**
   * Lays a packet and its context out for runs that follow each other without any set-up. As in the kernel's test runs with
   * `repeat`, and unlike {@link run}, a run sees what the one before has left of the packet; the first has been made here.
   *
   * @throws BpfError as {@link run} does.
   * @example
   * const prepared = program.preparePacket({ packet });
   * prepared.repeat(1_000_000); // the verdict of the last run
   */
  preparePacket({
    packet,
    context,
    cpu = 0,
    engine = this.#host.engine,
    layer,
  }: Pick<RunInput, "context" | "cpu" | "engine" | "layer"> & {
    readonly packet: Uint8Array;
  }): PreparedPacket {
    const call = this.prepare({ cpu, engine });
    const runner = this.#host.createRunner();
    const batch = { data: packet, offset: [0], capturedLength: [packet.length], count: 1 };
    const kind = this.#kind(layer);
    const template = contextTemplate(this.hook, packetContext(this.hook, context, kind, packet));
    const { readsSocket: socket } = this;
    runner.run(this, batch, { engine, cpu, fuel: this.#host.fuel, kind, template, socket });
    return new PreparedPacket(call, runner.context, (result) => this.readResult(result));
  }

  #checkCpu(cpu: number): void {
    if (Number.isInteger(cpu) && cpu >= 0 && cpu < this.#host.cpus) return;
    throw new BpfError("usage", `program '${this.name}': no CPU ${cpu}, the machine has ${this.#host.cpus}`);
  }
}

const NOTHING = new Uint8Array(0);
