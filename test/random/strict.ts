import koffi from "koffi";

/**
 * Runs an action without CAP_PERFMON and CAP_SYS_ADMIN: the kernel's verifier then also rejects programs that let an
 * address become a number, or that read stack which they have not written (kernel/bpf/verifier.c: allow_ptr_leaks,
 * allow_uninit_stack). What it still accepts has the same outcome on every machine.
 */
export function withoutPerfmon<T>(action: () => T): T {
  const before = effective();
  setEffective(before & ~((1n << CAP_PERFMON) | (1n << CAP_SYS_ADMIN)));
  try {
    return action();
  } finally {
    setEffective(before);
  }
}

// uapi/linux/capability.h.
const CAP_SYS_ADMIN = 21n;
const CAP_PERFMON = 38n;
const VERSION_3 = 0x20080522;

interface Calls {
  capget(header: Uint32Array, data: Uint32Array): number;
  capset(header: Uint32Array, data: Uint32Array): number;
}

let calls: Calls | undefined;

function bind(): Calls {
  const library = koffi.load(null);
  return {
    capget: library.func("int capget(void *, void *)") as Calls["capget"],
    capset: library.func("int capset(void *, void *)") as Calls["capset"],
  };
}

/** Header, and two triples of effective, permitted and inheritable words: the lower halves, then the upper. */
function read(): { readonly header: Uint32Array; readonly data: Uint32Array } {
  calls ??= bind();
  const header = Uint32Array.of(VERSION_3, 0);
  const data = new Uint32Array(6);
  if (calls.capget(header, data) !== 0) throw new Error(`capget: errno ${koffi.errno()}`);
  return { header, data };
}

function effective(): bigint {
  const { data } = read();
  return BigInt(data[0] as number) | (BigInt(data[3] as number) << 32n);
}

function setEffective(bits: bigint): void {
  const { header, data } = read();
  data[0] = Number(bits & 0xffffffffn);
  data[3] = Number(bits >> 32n);
  if (calls?.capset(header, data) !== 0) throw new Error(`capset: errno ${koffi.errno()}`);
}
