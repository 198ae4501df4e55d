import { BpfError } from "../../errors.ts";
import { Connections } from "./connections.ts";
import { Network } from "./network.ts";
import {
  type Digest,
  type Cipher,
  type PerfCounter,
  type SlabCache,
  type TaskOptions,
  WORLD_OPTION_NAMES,
  type WorldOptions,
} from "./options.ts";
import { type ConnectionRequest, Sockets } from "./sockets.ts";
import { Cgroups, type Task, Tasks } from "./tasks.ts";

/** International Atomic Time is ahead of UTC by so many seconds since 2017 (IERS Bulletin C). */
const TAI_OFFSET = 37;

/** Where the text of a kernel lies that nobody has told anything of: Documentation/arch/x86/x86_64/mm.rst. */
const MADE_UP = 0xffffffff81000000n;
const FUNCTION_ALIGNMENT = 16n;

/**
 * What lies outside of a machine and helpers ask about: set up when the machine is created, changed at any time.
 *
 * @example
 * const machine = await Machine.create({
 *   world: {
 *     interfaces: [{ name: "eth0", addresses: ["10.0.0.1/24"] }],
 *     routes: [{ to: "default", via: "10.0.0.254" }],
 *     neighbours: [{ address: "10.0.0.254", dev: "eth0", mac: "02:00:00:00:00:fe" }],
 *     current: { pid: 4242, comm: "nginx", uid: 33, cgroup: "/system.slice/nginx" },
 *   },
 * });
 * machine.world.setCurrent({ pid: 1, comm: "init" });
 */
export class World {
  readonly network: Network = new Network();
  readonly cgroups: Cgroups = new Cgroups();
  readonly tasks: Tasks = new Tasks(this.cgroups);
  readonly sockets: Sockets = new Sockets(this.network, this.cgroups);
  readonly hz: number;
  readonly bootTime: bigint | undefined;
  readonly taiOffset: number;
  readonly numaNodes: readonly number[];
  readonly netnsCookie: bigint;
  readonly synCookies: 0 | 1 | 2;
  readonly paths: Map<number, string>;
  readonly symbols: Map<string, bigint>;
  readonly counters: Map<string, readonly (PerfCounter | undefined)[]>;
  /** Signals that programs have sent, oldest first. */
  readonly signals: { readonly pid: number; readonly signal: number; readonly thread: boolean }[] = [];
  /** Segments that bpf_tcp_send_ack has asked for: the struct tcp_sock's address, the number that is acknowledged. */
  readonly acknowledgements: { readonly socket: number; readonly received: number }[] = [];
  /** Connections that bpf_sk_assign_tcp_reqsk has given to listeners, oldest first. */
  readonly requests: ConnectionRequest[] = [];
  readonly connections: Connections = new Connections();
  readonly xattrs: Map<number, Map<string, Uint8Array>>;
  readonly keys: readonly number[] | undefined;
  readonly ciphers: Readonly<Record<string, Cipher>> | undefined;
  /** Undefined: nobody has said which there are. */
  readonly slabCaches: readonly SlabCache[] | undefined;
  readonly dmaBuffers: readonly number[] | undefined;
  readonly digests: Map<number, Digest | null>;
  readonly fileSockets: Map<number, number>;
  #current: Task;

  constructor(options: WorldOptions = {}) {
    for (const name of Object.keys(options)) {
      if ((WORLD_OPTION_NAMES as readonly string[]).includes(name)) continue;
      throw new BpfError("usage", `world: no option '${name}'; there are ${WORLD_OPTION_NAMES.join(", ")}`);
    }
    this.hz = options.hz ?? 1000;
    if (!Number.isInteger(this.hz) || this.hz < 1 || this.hz > 10_000) {
      throw new BpfError("usage", `world: hz must be a whole number from 1 to 10000, not ${this.hz}`);
    }
    this.bootTime = options.bootTime;
    this.taiOffset = options.taiOffset ?? TAI_OFFSET;
    this.numaNodes = options.numaNodes ?? [];
    this.netnsCookie = options.netnsCookie ?? 1n;
    this.synCookies = options.synCookies ?? 1;
    this.paths = new Map(options.paths);
    this.xattrs = new Map([...(options.xattrs ?? [])].map(([address, values]) => [address, new Map(values)]));
    this.keys = options.keys;
    for (const row of options.connections ?? []) this.connections.add(row);
    this.ciphers = options.ciphers;
    this.slabCaches = options.slabCaches;
    this.dmaBuffers = options.dmaBuffers;
    this.digests = new Map(options.digests);
    this.fileSockets = new Map(options.fileSockets);
    this.symbols = new Map(Object.entries(options.symbols ?? {}));
    this.counters = new Map(Object.entries(options.counters ?? {}));
    for (const row of options.interfaces ?? []) this.network.addInterface(row);
    for (const row of options.routes ?? []) this.network.addRoute(row);
    for (const row of options.neighbours ?? []) this.network.addNeighbour(row);
    for (const row of options.cgroups ?? []) this.cgroups.add(row);
    for (const row of options.tasks ?? []) this.tasks.add(row);
    for (const row of options.sockets ?? []) this.sockets.add(row);
    this.#current = this.#taskOf(options.current ?? { pid: 1000 });
  }

  /** The process that runs. */
  get current(): Task {
    return this.#current;
  }

  /** Another process runs from now on: its pid, or a new one. */
  setCurrent(task: number | TaskOptions): Task {
    this.#current = this.#taskOf(task);
    return this.#current;
  }

  #taskOf(task: number | TaskOptions): Task {
    if (typeof task !== "number") return this.tasks.add(task);
    const known = this.tasks.byPid(task);
    if (known !== undefined) return known;
    throw new BpfError("usage", `world: no task ${task}; give it in 'tasks' or as an object`);
  }

  /** What iterators have written, by the address of their struct seq_file. */
  readonly #outputs = new Map<number, Uint8Array[]>();

  writeSeq(address: number, bytes: Uint8Array): void {
    const output = this.#outputs.get(address);
    if (output === undefined) this.#outputs.set(address, [bytes]);
    else output.push(bytes);
  }

  /** What has been written with bpf_seq_write and bpf_seq_printf, and forgets it. All iterators' if no address is given. */
  takeSeq(address?: number): string {
    const parts =
      address === undefined ? [...this.#outputs.values()].flat() : (this.#outputs.get(address) ?? []);
    if (address === undefined) this.#outputs.clear();
    else this.#outputs.delete(address);
    return parts.map((bytes) => new TextDecoder().decode(bytes)).join("");
  }

  /** Where a function of the kernel is: as the test says, or else somewhere that is its own and stays the same. */
  addressOf(symbol: string): bigint {
    const known = this.symbols.get(symbol);
    if (known !== undefined) return known;
    const taken = new Set(this.symbols.values());
    let hash = 0;
    for (const letter of symbol) hash = (Math.imul(hash, 31) + letter.charCodeAt(0)) >>> 0;
    let address = MADE_UP + BigInt(hash & 0xfffff) * FUNCTION_ALIGNMENT;
    while (taken.has(address)) address += FUNCTION_ALIGNMENT;
    this.symbols.set(symbol, address);
    return address;
  }

  readonly #streams = { stdout: "", stderr: "" };

  writeStream(stream: "stdout" | "stderr", text: string): void {
    this.#streams[stream] += text;
  }

  /** What programs have printed with bpf_stream_printk, and forgets it. */
  takeStream(stream: "stdout" | "stderr"): string {
    const text = this.#streams[stream];
    this.#streams[stream] = "";
    return text;
  }

  /** The symbol that covers an address: the last one at or below it, of which the next one says how long it is. */
  symbolAt(at: bigint, withOffset: boolean, back = 0n): string | undefined {
    const address = at - back;
    let found: { name: string; start: bigint } | undefined;
    let end: bigint | undefined;
    for (const [name, start] of this.symbols) {
      if (start <= address && (found === undefined || start > found.start)) found = { name, start };
      if (start > address && (end === undefined || start < end)) end = start;
    }
    if (found === undefined) return undefined;
    const size = end === undefined ? 0n : end - found.start;
    return withOffset
      ? `${found.name}+0x${(at - found.start).toString(16)}/0x${size.toString(16)}`
      : found.name;
  }

  numaNode(cpu: number): number {
    return this.numaNodes[cpu] ?? 0;
  }
}
