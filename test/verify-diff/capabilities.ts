/**
 * Loading with fewer capabilities: they are taken from this thread's effective set (capset(2)) and given back, as the kernel's own
 * test loader does it. BTF is loaded before, with all of them.
 */
import type { Capability } from "../../src/verifier/index.ts";

const NUMBERS: Readonly<Record<Capability, number>> = { net_admin: 12, perfmon: 38, bpf: 39 };
const SYS_ADMIN = 21;
/** _LINUX_CAPABILITY_VERSION_3: two words each of effective, permitted, inheritable. */
const VERSION = 0x20080522;

/** Runs `work` with no capabilities for BPF but those named. */
export type WithCapabilities = <T>(kept: readonly Capability[], work: () => T) => T;

export async function loadCapabilities(): Promise<WithCapabilities> {
  const { default: koffi } = await import("koffi");
  const library = koffi.load(null);
  const capget = library.func("int capget(void *, void *)") as (
    header: Uint8Array,
    data: Uint8Array,
  ) => number;
  const capset = library.func("int capset(void *, void *)") as (
    header: Uint8Array,
    data: Uint8Array,
  ) => number;
  const header = (): Uint8Array => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setUint32(0, VERSION, true);
    return bytes;
  };
  return (kept, work) => {
    const before = new Uint8Array(24);
    if (capget(header(), before) !== 0) throw new Error("capget failed");
    const fewer = before.slice();
    const view = new DataView(fewer.buffer);
    const drop = [
      SYS_ADMIN,
      ...Object.entries(NUMBERS).flatMap(([name, bit]) =>
        (kept as readonly string[]).includes(name) ? [] : [bit],
      ),
    ];
    for (const bit of drop) {
      const at = (bit >> 5) * 12;
      view.setUint32(at, view.getUint32(at, true) & ~(1 << (bit & 31)), true);
    }
    if (capset(header(), fewer) !== 0) throw new Error("capset failed");
    try {
      return work();
    } finally {
      capset(header(), before);
    }
  };
}
