import { readFileSync } from "node:fs";
import { type Btf, type BtfKind, parseBtf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import type { AttachType, ProgramType } from "../uapi/index.ts";

const PATH = "/sys/kernel/btf/vmlinux";

let opened: Btf | undefined;

/**
 * The running kernel's own types.
 *
 * @throws BpfError code "unsupported" if the kernel was built without them (CONFIG_DEBUG_INFO_BTF).
 */
export function vmlinuxBtf(): Btf {
  if (opened !== undefined) return opened;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(PATH);
  } catch (cause) {
    throw new BpfError("unsupported", `${PATH}: this kernel shows no BTF of its own`, { cause });
  }
  opened = parseBtf(bytes, { name: "vmlinux" });
  return opened;
}

/** The id of a kernel type by name. */
export function kernelTypeId(name: string, kind: BtfKind): number | undefined {
  return vmlinuxBtf().find(name, kind)[0]?.id;
}

/** How the kernel names the type that stands for what a program attaches to, by attach type or program type. */
const TARGETS: Readonly<Partial<Record<AttachType | ProgramType, { prefix: string; kind: BtfKind }>>> = {
  trace_raw_tp: { prefix: "btf_trace_", kind: "typedef" },
  trace_iter: { prefix: "bpf_iter_", kind: "func" },
  lsm_mac: { prefix: "bpf_lsm_", kind: "func" },
  lsm_cgroup: { prefix: "bpf_lsm_", kind: "func" },
};

/**
 * The BTF id of what a tracing or LSM program attaches to.
 *
 * @throws BpfError code "relocation" if the kernel has no such function, tracepoint or hook.
 */
export function attachTypeId(program: string, target: string, attach: string | undefined): number {
  const { prefix, kind } = TARGETS[attach as AttachType] ?? { prefix: "", kind: "func" as const };
  const id = kernelTypeId(prefix + target, kind);
  if (id !== undefined) return id;
  throw new BpfError(
    "relocation",
    `program '${program}': the kernel has no ${kind} '${prefix}${target}' to attach to`,
    {
      where: { program },
    },
  );
}

let symbols: Map<string, bigint> | undefined;

/** The address of a kernel symbol, of those whose type does not matter; undefined if there is none or it is hidden. */
export function kernelAddress(name: string): bigint | undefined {
  if (symbols === undefined) {
    symbols = new Map();
    let text = "";
    try {
      text = readFileSync("/proc/kallsyms", "latin1");
    } catch {
      // Without /proc there are no addresses, as for a process that may not see them.
    }
    for (const [, address, symbol] of text.matchAll(/^([0-9a-f]+) \S (\S+)$/gm)) {
      const value = BigInt(`0x${address}`);
      if (value !== 0n && symbol !== undefined && !symbols.has(symbol)) symbols.set(symbol, value);
    }
  }
  return symbols.get(name);
}
