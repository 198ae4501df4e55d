/**
 * System calls beside bpf(2), for what maps hold: sockets, processes, control groups, perf events, shared pages. Everything is the
 * test's own: a control group comes of a file system that is mounted nowhere, sockets are bound to the loopback.
 */
import { arch } from "node:process";
import koffi from "koffi";

/** asm/unistd_64.h of x86. */
const CALLS = {
  close: 3,
  mmap: 9,
  munmap: 11,
  socket: 41,
  connect: 42,
  accept: 43,
  bind: 49,
  listen: 50,
  getsockname: 51,
  setsockopt: 54,
  getsockopt: 55,
  openat: 257,
  perf_event_open: 298,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pidfd_open: 434,
} as const;

export const noCalls: string | undefined =
  arch === "x64" ? undefined : `no numbers of system calls for ${arch}`;

type Argument = number | bigint | Uint8Array;

const raw = koffi
  .load(null)
  .func("int64_t syscall(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t)") as (
  ...args: (number | bigint)[]
) => number | bigint;

/** Bytes that keep their address. */
export const pinned = (bytes: Iterable<number>): Uint8Array => {
  const list = [...bytes];
  const own = new Uint8Array(new ArrayBuffer(Math.max(1, list.length)));
  own.set(list);
  return own;
};

const text = (string: string): Uint8Array => pinned([...Buffer.from(string), 0]);

/** The result, or the negated errno. */
export function systemCall(name: keyof typeof CALLS, ...given: Argument[]): number {
  const args = [...given, 0, 0, 0, 0, 0, 0]
    .slice(0, 6)
    .map((one) => (one instanceof Uint8Array ? koffi.address(one) : one));
  const result = Number(raw(CALLS[name], ...args));
  return result < 0 && result >= -4095 ? -koffi.errno() : result;
}

function must(name: keyof typeof CALLS, ...args: Argument[]): number {
  const result = systemCall(name, ...args);
  if (result < 0) throw new Error(`${name}: errno ${-result}`);
  return result;
}

/** Descriptors and pages that are given back together. */
export class Own {
  readonly #fds: number[] = [];
  readonly #pages: [address: number, length: number][] = [];

  #keep(fd: number): number {
    this.#fds.push(fd);
    return fd;
  }

  /** The control group at the root of cgroup v2. */
  cgroup(): number {
    const context = this.#keep(must("fsopen", text("cgroup2"), 0));
    must("fsconfig", context, 6, 0, 0, 0);
    const mount = this.#keep(must("fsmount", context, 0, 0));
    return this.#keep(must("openat", mount, text("."), 0x10000));
  }

  /** This process. */
  process(): number {
    return this.#keep(must("pidfd_open", process.pid, 0));
  }

  /** A file or a folder, for reading. */
  file(path: string): number {
    return this.#keep(must("openat", -100, text(path), 0));
  }

  /** A software event whose samples are the programs' (PERF_COUNT_SW_BPF_OUTPUT), of a CPU. */
  perfEvent(cpu: number): number {
    const attributes = new Uint8Array(new ArrayBuffer(128));
    const view = new DataView(attributes.buffer);
    view.setUint32(0, 1, true);
    view.setUint32(4, attributes.length, true);
    view.setBigUint64(8, 10n, true);
    view.setBigUint64(24, 1n << 10n, true);
    return this.#keep(must("perf_event_open", attributes, -1, cpu, -1, 8));
  }

  /** A socket by the words of the world: bound to the loopback at a port of the kernel's choice. */
  socket({
    protocol,
    state,
    reuse = false,
  }: {
    readonly protocol: "tcp" | "udp";
    readonly state: string;
    readonly reuse?: boolean;
  }): number {
    const make = (): number => this.#keep(must("socket", 2, protocol === "tcp" ? 1 : 2, 0));
    const listener = (): { fd: number; address: Uint8Array } => {
      const fd = make();
      if (reuse) must("setsockopt", fd, 1, 15, pinned([1, 0, 0, 0]), 4);
      const address = pinned([2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
      must("bind", fd, address, 16);
      if (protocol === "tcp") must("listen", fd, 8);
      must("getsockname", fd, address, pinned([16, 0, 0, 0]));
      return { fd, address };
    };
    if (state === "new") return make();
    const first = listener();
    if (state !== "established") return first.fd;
    const second = protocol === "udp" && reuse ? listener().fd : make();
    must("connect", second, first.address, 16);
    return second;
  }

  /** A socket of AF_XDP, bound to no device. */
  xdpSocket(): number {
    return this.#keep(must("socket", 44, 3, 0));
  }

  /** SO_COOKIE. */
  cookie(fd: number): bigint {
    const bytes = new Uint8Array(new ArrayBuffer(8));
    must("getsockopt", fd, 1, 57, bytes, pinned([8, 0, 0, 0]));
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  /** Pages of a map, shared: what is written is the map's. */
  pages(
    fd: number,
    length: number,
    offset: number,
    { write = true }: { readonly write?: boolean } = {},
  ): Uint8Array {
    const address = must("mmap", 0, length, write ? 3 : 1, 1, fd, offset);
    this.#pages.push([address, length]);
    return new Uint8Array(koffi.view(BigInt(address), length));
  }

  [Symbol.dispose](): void {
    for (const [address, length] of this.#pages) systemCall("munmap", address, length);
    for (const fd of this.#fds.reverse()) systemCall("close", fd);
  }
}
