import { arch, platform } from "node:process";
import { BpfError } from "../errors.ts";

/** The number of bpf(2), by Node's name of the architecture (asm/unistd.h of each). */
const BPF_SYSCALL: Readonly<Record<string, number>> = {
  x64: 321,
  ia32: 357,
  arm64: 280,
  arm: 386,
  riscv64: 280,
  loong64: 280,
  s390x: 351,
  ppc64: 361,
  mips: 4355,
  mipsel: 4355,
};

/** The two functions of the C library that we need. */
export interface Libc {
  /** bpf(2): the result, or the negated errno. */
  bpf(command: number, attr: Uint8Array): number;
  close(fd: number): void;
  /** The address of the first byte. It stays valid as long as the bytes are referenced. */
  address(bytes: Uint8Array): bigint;
}

let loading: Promise<Libc> | undefined;

/**
 * Loads koffi and binds the functions, once.
 *
 * The errno of a call is read by a second call into koffi. Nothing that can fail runs in between: koffi reads the live
 * errno, and a synchronous call leaves it alone on its way back.
 *
 * @throws BpfError code "unsupported" off Linux, or if koffi is missing or cannot be loaded.
 */
export function loadLibc(): Promise<Libc> {
  loading ??= bind();
  // A failure must not stick: the package may be installed by the time of the next try.
  loading.catch(() => (loading = undefined));
  return loading;
}

async function bind(): Promise<Libc> {
  if (platform !== "linux") {
    throw new BpfError(
      "unsupported",
      `kernel: the Linux back end runs on Linux only, and this is ${platform}`,
    );
  }
  const number = BPF_SYSCALL[arch];
  if (number === undefined) {
    throw new BpfError("unsupported", `kernel: the number of bpf(2) on ${arch} is not known here`);
  }
  const koffi = await importKoffi();
  // The process itself: its C library is loaded under whatever name (glibc, musl).
  const library = koffi.load(null);
  const syscall = library.func("int64_t syscall(int64_t, int64_t, void *, int64_t)") as (
    number: number,
    command: number,
    attr: Uint8Array,
    size: number,
  ) => number | bigint;
  const closeFile = library.func("int close(int)") as (fd: number) => number;
  return {
    bpf(command, attr) {
      const result = Number(syscall(number, command, attr, attr.length));
      return result < 0 ? -koffi.errno() : result;
    },
    close(fd) {
      closeFile(fd);
    },
    address: (bytes) => koffi.address(bytes),
  };
}

/** What we use of koffi. Written out, so that our declarations can be read where koffi is not installed. */
interface Koffi {
  load(path: null): { func(definition: string): unknown };
  errno(): number;
  address(bytes: Uint8Array): bigint;
}

/** The package, or an error that tells a user what to do. `load` is there for tests. */
export async function importKoffi(load: () => Promise<Koffi> = () => import("koffi")): Promise<Koffi> {
  try {
    return await load();
  } catch (cause) {
    const missing = (cause as { code?: unknown }).code === "ERR_MODULE_NOT_FOUND";
    throw new BpfError(
      "unsupported",
      missing
        ? "kernel: the Linux back end needs the optional package koffi: npm install koffi"
        : `kernel: the optional package koffi cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}
