/** What libbpf says that it made of each CO-RE relocation, from the debug output of bpftool. */
import { spawnSync } from "node:child_process";

export interface Patched {
  readonly slot: number;
  readonly what: "imm" | "off" | "imm64" | "mem_sz" | "poison";
  readonly value: bigint;
}

const SCRIPT = 'mount -t bpf bpf /sys/fs/bpf && bpftool -d prog loadall "$0" /sys/fs/bpf/skep';

/** By function. libbpf relocates all programs before it loads the first, so programs need not load for this. */
export function libbpfRelocations(path: string): Map<string, Patched[]> {
  const { stderr, stdout } = spawnSync("unshare", ["-m", "sh", "-c", SCRIPT, path], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const log = stderr + stdout;
  const patched = new Map<string, Patched[]>();
  const lines = log.matchAll(
    /prog '(\w+)': relo #\d+: (?:patched insn #(\d+) \([^)]*\) (imm|off|imm64|mem_sz) (-?\d+) -> (-?\d+)|substituting insn #(\d+) w\/ invalid insn)/g,
  );
  for (const [, name = "", slot, what, , value, poison] of lines) {
    const list = patched.get(name) ?? [];
    patched.set(name, list);
    list.push(
      poison === undefined
        ? { slot: Number(slot), what: what as Patched["what"], value: BigInt(value ?? 0) }
        : { slot: Number(poison), what: "poison", value: 0n },
    );
  }
  return patched;
}
