/**
 * The live kernel as the judge of what a program does, through bpftool alone.
 *
 * One call is one session: an object is loaded, its maps are filled, packets are run, maps are read. A session is a
 * single bpftool process in batch mode, in a mount namespace of its own with a bpf file system of its own. So there is
 * nothing to clean up: when that process ends, whatever way it ends, the kernel drops the mount, with it the pins, and
 * with them the programs and maps. Nothing is ever attached.
 *
 * 3,700 packets take half a second (7,500 a second, half of it in bpftool and the kernel).
 *
 * What to know about TEST_RUN (measured on Linux 6.18 with bpftool 7.1):
 * - A packet needs at least 14 bytes, an Ethernet header; less is EINVAL. Where it becomes an skb (every type but XDP), a
 *   packet whose Ethernet type says IPv4 or IPv6 needs that whole header too: 34 and 54 bytes.
 * - A socket filter sees the packet without its Ethernet header, while on a packet socket it sees all of it. With
 *   `socket: true` the first 14 bytes are put in front once more, so that the program sees the packet as given.
 * - tc and socket programs take `pkt_type` from the destination address (zero: this host; any other unicast address:
 *   another host), `protocol` from the Ethernet type, `ifindex` is 1 and everything else 0. VLAN tags stay in the data.
 * - XDP runs with `ingress_ifindex` 1, 256 bytes of headroom (216 of them for the program) and, for a small packet, a
 *   frame that can grow to 3,520 bytes. Of a longer packet the program sees the first 3,520 bytes (`data_end`), whether or
 *   not it declares that it understands fragments.
 * - Of the context that a step gives, the kernel takes mark, priority, ifindex, cb, tstamp, wire_len and gso fields and
 *   gives back those alone; the rest must be 0 (EINVAL).
 * - Program arrays lose their entries when nobody holds the map, so every map is pinned while the session lasts.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";

/** The private mount point: every kernel with BPF has this folder, and only our namespace sees what we mount there. */
const BPFFS = "/sys/fs/bpf";

/** bpftool reads packets from files: in memory that costs 20 microseconds a packet, on a disk 500. */
export const PACKET_FOLDER: string = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** One thing to do in a session, in order. */
export type KernelStep =
  | {
      readonly run: string;
      readonly packet: Uint8Array;
      readonly socket?: boolean;
      readonly context?: Uint8Array;
    }
  | {
      readonly update: string;
      readonly key: Uint8Array;
      readonly value: Uint8Array;
      readonly flag?: "any" | "exist" | "noexist";
    }
  | { readonly delete: string; readonly key: Uint8Array }
  | { readonly dump: string }
  | { readonly info: string };

/** What a TEST_RUN answered. `packet` is what the program left, `context` only when the step gave one. */
export interface KernelRun {
  readonly returnValue: number;
  readonly packet: Uint8Array;
  readonly context?: Uint8Array;
  readonly durationNs: number;
}

/** One element of a map: `values` has one entry for each possible CPU of a per-CPU map, else a single one. */
export interface KernelEntry {
  readonly key: Uint8Array;
  readonly values: readonly Uint8Array[];
  /** Decoded through BTF by bpftool, when it could. */
  readonly formatted?: unknown;
}

/** The answer to a step; `error` is bpftool's text. After the first error no later step was carried out. */
export interface KernelAnswer {
  readonly error?: string;
  readonly run?: KernelRun;
  readonly entries?: readonly KernelEntry[];
  readonly info?: Record<string, unknown>;
}

export interface KernelOptions {
  /** The program type as bpftool names it, for section names that libbpf doesn't know. */
  readonly type?: string;
  /** Milliseconds after which the session is killed; 60,000 unless given. */
  readonly timeout?: number;
}

const NAMESPACE = ["-m", "sh", "-c"];
const ENTER = `mount -t bpf bpf ${BPFFS} && mkdir ${BPFFS}/p ${BPFFS}/m && `;

function sh(script: string, input: string, timeout: number) {
  return spawnSync("unshare", [...NAMESPACE, script], {
    input,
    encoding: "utf8",
    timeout,
    killSignal: "SIGKILL",
    maxBuffer: 1 << 30,
  });
}

function probe(): string {
  if (process.platform !== "linux") return "Linux";
  if (process.getuid?.() !== 0) return "root";
  if (spawnSync("bpftool", ["version"], { stdio: "ignore" }).status !== 0) return "bpftool";
  if (sh(`${ENTER} true`, "", 10_000).status !== 0) return "bpf file system that can be mounted";
  return "";
}

/** What is missing for a session, or the empty string. */
export const kernelBpfLacks: string = probe();

/** Whether sessions work here: root, bpftool, and a bpf file system that can be mounted. */
export const hasKernelBpf: boolean = kernelBpfLacks === "";

/**
 * The name under which libbpf pins a map. Sections of globals (".rodata", ".bss") get the object's name in front, at most 15
 * characters in all, and what is neither letter nor digit becomes an underscore.
 */
export function pinName(objectPath: string, map: string): string {
  if (!map.startsWith(".")) return map;
  const object = basename(objectPath).replace(/\..*$/s, "");
  const room = map.indexOf(".", 1) > 0 ? 0 : 15 - Math.max(7, map.length);
  return (object.slice(0, room) + map).slice(0, 15).replace(/[^A-Za-z0-9_]/g, "_");
}

function hexWords(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** bpftool prints bytes as numbers (packets) or as "0x.." strings (map elements). */
function toBytes(list: unknown): Uint8Array {
  return Uint8Array.from(Array.isArray(list) ? list : [], Number);
}

interface RawEntry {
  key: unknown;
  value?: unknown;
  values?: { cpu: number; value: unknown }[];
  formatted?: unknown;
}

function toEntry(raw: RawEntry): KernelEntry {
  const values = raw.values ? raw.values.map((one) => toBytes(one.value)) : [toBytes(raw.value)];
  return { key: toBytes(raw.key), values, formatted: raw.formatted };
}

function withLinkHeader(packet: Uint8Array): Uint8Array {
  const longer = new Uint8Array(14 + packet.length);
  longer.set(packet.subarray(0, 14));
  longer.set(packet, 14);
  return longer;
}

function commandOf(step: KernelStep, index: number, objectPath: string, folder: string): string {
  if ("run" in step) {
    const file = join(folder, `${index}`);
    writeFileSync(file, step.socket === true ? withLinkHeader(step.packet) : step.packet);
    let command = `prog run pinned ${BPFFS}/p/${step.run} data_in ${file} data_out - repeat 1`;
    if (step.context !== undefined) {
      writeFileSync(`${file}c`, step.context);
      command += ` ctx_in ${file}c ctx_out - ctx_size_out ${step.context.length}`;
    }
    return command;
  }
  if ("info" in step) return `prog show pinned ${BPFFS}/p/${step.info}`;
  const map = "update" in step ? step.update : "delete" in step ? step.delete : step.dump;
  const pin = `pinned ${BPFFS}/m/${pinName(objectPath, map)}`;
  if ("dump" in step) return `map dump ${pin}`;
  const key = `key hex ${hexWords(step.key)}`;
  if ("delete" in step) return `map delete ${pin} ${key}`;
  return `map update ${pin} ${key} value hex ${hexWords(step.value)} ${step.flag ?? "any"}`;
}

function answerOf(step: KernelStep, output: unknown): KernelAnswer {
  if (output !== null && typeof output === "object" && "error" in output)
    return { error: String(output.error) };
  if ("run" in step) {
    const raw = output as { retval: number; duration: number; data_out?: unknown; ctx_out?: unknown };
    const context = raw.ctx_out === undefined ? {} : { context: toBytes(raw.ctx_out) };
    // In place of the link header that it took off, TEST_RUN puts 14 zero bytes.
    const packet = toBytes(raw.data_out).subarray(step.socket === true ? 14 : 0);
    const run = { returnValue: raw.retval, packet, durationNs: raw.duration, ...context };
    return { run };
  }
  if ("dump" in step) return { entries: (output as RawEntry[]).map(toEntry) };
  if ("info" in step) return { info: output as Record<string, unknown> };
  return {};
}

/**
 * Loads an object into the kernel, carries out the steps in order and answers each. Throws when the object isn't loaded, with the
 * verifier's log as far as bpftool shows it. Everything runs on one CPU, so per-CPU maps have all their counts in one place.
 *
 * @example
 * const [answer] = kernelSession("examples/firewall/firewall.bpf.o", [{ run: "firewall", packet }]);
 * answer?.run?.returnValue; // 2, XDP_PASS
 */
export function kernelSession(
  objectPath: string,
  steps: readonly KernelStep[],
  options: KernelOptions = {},
): KernelAnswer[] {
  const folder = mkdtempSync(join(PACKET_FOLDER, "skep-kernel-"));
  try {
    const type = options.type === undefined ? "" : ` type ${options.type}`;
    const lines = [
      `prog loadall '${resolve(objectPath)}' ${BPFFS}/p${type} pinmaps ${BPFFS}/m`,
      ...steps.map((step, index) => commandOf(step, index, objectPath, folder)),
    ];
    const script = `${ENTER} exec taskset -c "$(taskset -cp $$ | sed 's/.*: *//; s/[-,].*//')" bpftool -j batch file -`;
    const done = sh(script, `${lines.join("\n")}\n`, options.timeout ?? 60_000);
    if (done.error) throw new Error(`${objectPath}: the kernel session failed: ${done.error.message}`);
    let outputs: { output?: unknown; error?: unknown }[];
    try {
      outputs = JSON.parse(done.stdout);
    } catch {
      throw new Error(
        `${objectPath}: bpftool answered no JSON: ${done.stderr.slice(-4000)}${done.stdout.slice(0, 200)}`,
      );
    }
    const answers = outputs.map((one) => one.output ?? one);
    const loaded = answers[0];
    if (loaded === null || loaded === undefined || (typeof loaded === "object" && "error" in loaded)) {
      throw new Error(
        `${objectPath}: the kernel refused it: ${JSON.stringify(loaded)}\n${done.stderr.slice(-8000)}`,
      );
    }
    return steps.map((step, index) =>
      index + 1 < answers.length ? answerOf(step, answers[index + 1]) : { error: "not reached" },
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether TEST_RUN takes a packet for a program of this kind; see the list at the top. */
export function kernelTakes(kind: "xdp" | "tc" | "socket", packet: Uint8Array): boolean {
  const network = kind === "socket" ? packet.length : packet.length - 14;
  if (kind === "xdp") return network >= 0;
  const type = ((packet[12] ?? 0) << 8) | (packet[13] ?? 0);
  return network >= (type === 0x0800 ? 20 : type === 0x86dd ? 40 : 0);
}

/**
 * Runs a program over packets and returns what the kernel answered for each; a packet that TEST_RUN can't take gives `undefined`.
 * `before` fills maps, `dump` names maps to read afterwards. `kind` is "xdp" unless given.
 */
export function kernelRuns(
  objectPath: string,
  program: string,
  packets: readonly Uint8Array[],
  options: KernelOptions & {
    readonly kind?: "xdp" | "tc" | "socket";
    readonly before?: readonly KernelStep[];
    readonly dump?: readonly string[];
  } = {},
): {
  readonly runs: readonly (KernelRun | undefined)[];
  readonly maps: Readonly<Record<string, readonly KernelEntry[]>>;
} {
  const { kind = "xdp", before = [], dump = [] } = options;
  const asked = packets.filter((packet) => kernelTakes(kind, packet));
  const answers = kernelSession(
    objectPath,
    [
      ...before,
      ...asked.map((packet) => ({ run: program, packet, socket: kind === "socket" })),
      ...dump.map((map) => ({ dump: map })),
    ],
    options,
  );
  const wrong = answers.findIndex((answer) => answer.error !== undefined);
  if (wrong >= 0) throw new Error(`${objectPath}: step ${wrong} failed: ${answers[wrong]?.error}`);
  let next = before.length;
  const runs = packets.map((packet) => (kernelTakes(kind, packet) ? answers[next++]?.run : undefined));
  const maps = Object.fromEntries(dump.map((map) => [map, answers[next++]?.entries ?? []]));
  return { runs, maps };
}

/** Whether the kernel loads every program of an object, and the log of libbpf and the verifier that says why not. */
export function kernelVerdict(
  objectPath: string,
  options: KernelOptions = {},
): { accepted: boolean; log: string } {
  const type = options.type === undefined ? "" : ` type ${options.type}`;
  const command = `${ENTER} exec bpftool prog loadall '${resolve(objectPath)}' ${BPFFS}/p${type} pinmaps ${BPFFS}/m`;
  const done = sh(command, "", options.timeout ?? 60_000);
  if (done.error) throw new Error(`${objectPath}: bpftool failed: ${done.error.message}`);
  return { accepted: done.status === 0, log: done.stderr };
}
