import { existsSync, readFileSync, statSync } from "node:fs";
import { arch, release } from "node:os";
import { geteuid } from "node:process";
import { gunzipSync } from "node:zlib";

/** What can be known about BPF on this system without a single call of bpf(2). */
export interface SystemReport {
  readonly release: string;
  readonly architecture: string;
  readonly root: boolean;
  /** The capabilities that BPF asks for, and whether this process has them. */
  readonly capabilities: Readonly<Record<string, boolean>>;
  /** kernel.unprivileged_bpf_disabled: 0 allowed, 1 disabled for good, 2 disabled; undefined if it cannot be read. */
  readonly unprivilegedDisabled: number | undefined;
  /** net.core.bpf_jit_enable, _harden, _kallsyms. */
  readonly jit: { readonly enable?: number; readonly harden?: number; readonly kallsyms?: number };
  /** The size of /sys/kernel/btf/vmlinux, undefined if the kernel has no BTF of its own. */
  readonly btfSize: number | undefined;
  /** Where BPF file systems are mounted. */
  readonly bpffs: readonly string[];
  /** Options of the kernel's configuration, as far as it can be read. */
  readonly config: ReadonlyMap<string, string> | undefined;
}

/** Bits of CapEff (uapi/linux/capability.h). */
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_PERFMON: 38, CAP_BPF: 39 } as const;

export function readSystem(): SystemReport {
  const held = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(read("/proc/self/status") ?? "")?.[1] ?? "0"}`);
  const jit = (name: string): object => {
    const value = readNumber(`/proc/sys/net/core/bpf_jit_${name}`);
    return value === undefined ? {} : { [name]: value };
  };
  return {
    release: release(),
    architecture: arch(),
    root: geteuid?.() === 0,
    capabilities: Object.fromEntries(
      Object.entries(CAPABILITIES).map(([name, bit]) => [name, ((held >> BigInt(bit)) & 1n) === 1n]),
    ),
    unprivilegedDisabled: readNumber("/proc/sys/kernel/unprivileged_bpf_disabled"),
    jit: { ...jit("enable"), ...jit("harden"), ...jit("kallsyms") },
    btfSize: sizeOf("/sys/kernel/btf/vmlinux"),
    bpffs: (read("/proc/mounts") ?? "")
      .split("\n")
      .map((line) => line.split(" "))
      .filter(([, , type]) => type === "bpf")
      .map(([, path]) => path ?? ""),
    config: readConfig(),
  };
}

function readConfig(): ReadonlyMap<string, string> | undefined {
  let text: string | undefined;
  try {
    text = existsSync("/proc/config.gz")
      ? gunzipSync(readFileSync("/proc/config.gz")).toString("latin1")
      : read(`/boot/config-${release()}`);
  } catch {
    return undefined;
  }
  if (text === undefined) return undefined;
  const options = new Map<string, string>();
  for (const match of text.matchAll(/^(CONFIG_\w+)=(.*)$/gm))
    options.set(match[1] as string, match[2] as string);
  return options;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}

function readNumber(path: string): number | undefined {
  const text = read(path);
  return text === undefined || text.trim() === "" ? undefined : Number(text);
}

function sizeOf(path: string): number | undefined {
  try {
    return statSync(path).size;
  } catch {
    return undefined;
  }
}
