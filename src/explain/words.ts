/** What registers hold, in plain words. */
import type { RegisterSnapshot } from "../verifier/index.ts";

const S64_MIN = -(1n << 63n);
const S64_MAX = (1n << 63n) - 1n;
const U64_MAX = (1n << 64n) - 1n;

/** "0 to 255", "5"; "any value" if nothing is known. */
export function rangeWords({ value, constant }: Pick<RegisterSnapshot, "value" | "constant">): string {
  const { smin, smax, umin, umax, u32min, u32max } = value;
  if (constant) return String(BigInt.asIntN(64, value.value));
  const signedKnown = smin !== S64_MIN || smax !== S64_MAX;
  const unsignedKnown = umin !== 0n || umax !== U64_MAX;
  if (!signedKnown && !unsignedKnown) return "any 64-bit value";
  if (smin === 0n && umax === 0xffff_ffffn) return "0 to 4294967295 (any 32-bit value)";
  if (smin === -(1n << 31n) && smax === (1n << 31n) - 1n) {
    return "-2147483648 to 2147483647 (any signed 32-bit value)";
  }
  // A comparison in 32 bits says nothing of the upper half.
  if (umax > 0xffff_ffffn && smin < 0n && (u32min > 0 || u32max < 0xffff_ffff))
    return `${u32min} to ${u32max} in its lower 32 bits, anything in the upper ones`;
  // Multiples of something, and no more.
  if (smin === S64_MIN && smax > 1n << 62n) return "any 64-bit value";
  if (smin >= 0n || !signedKnown) return umax === U64_MAX ? `${umin} or more` : `${umin} to ${umax}`;
  return `${smin} to ${smax === S64_MAX ? "the largest signed value" : smax}`.replace(
    `${S64_MIN} to`,
    "the smallest signed value to",
  );
}

/** Where a pointer points, behind its name: "", " + 14", " + 14 + (0 to 255)". */
function offsetWords({ offset, value, constant }: RegisterSnapshot): string {
  const fixed = offset + (constant ? Number(BigInt.asIntN(64, value.value)) : 0);
  const sign = fixed === 0 ? "" : fixed < 0 ? ` - ${-fixed}` : ` + ${fixed}`;
  return constant ? sign : `${sign} + (${rangeWords({ value, constant })})`;
}

const POINTER_WORDS: Readonly<Record<string, string>> = {
  ctx: "the context",
  pkt: "a packet pointer",
  pkt_meta: "a pointer to the packet's metadata",
  pkt_end: "the end of the packet",
  fp: "a stack pointer",
  map_ptr: "the map",
  flow_keys: "the flow keys",
  sock: "a socket",
  sock_common: "a socket",
  tcp_sock: "a TCP socket",
  xdp_sock: "an XDP socket",
  func: "the address of a function",
  arena: "an arena pointer",
  dynptr_ptr: "a dynptr",
};

/** "a number (0 to 255)", "a pointer into a value of map 'flows' + (0 to 255), or NULL", ... */
export function valueWords(reg: RegisterSnapshot | undefined): string {
  if (reg === undefined) return "nothing that may be read";
  const { type, map } = reg;
  if (!reg.pointer) return reg.constant ? `the number ${rangeWords(reg)}` : `a number: ${rangeWords(reg)}`;
  const base = type
    .replace(/ptr_or_null_$/, "ptr_")
    .replace(/_or_null_?$/, "")
    .replace(/or_null_$/, "");
  const orNull = reg.nullable ? ", or NULL" : "";
  const offset = offsetWords(reg);
  if (base === "fp") {
    const fixed = reg.offset + (reg.constant ? Number(BigInt.asIntN(64, reg.value.value)) : 0);
    return reg.constant ? `a stack pointer (fp${fixed === 0 ? "" : fixed})` : `a stack pointer (fp${offset})`;
  }
  if (base === "map_ptr") return `the map '${map?.name ?? ""}'`;
  if (base === "map_value" && map?.type.endsWith("_of_maps") === true)
    return `a map that '${map.name}' holds${orNull}`;
  if (base === "map_value") {
    return `a pointer into a value of ${map === undefined || map.name === "" ? "an inner map" : `map '${map.name}'`} (${map?.valueSize ?? 0} bytes)${offset}${orNull}`;
  }
  if (base === "map_key") return `a pointer into a key of map '${map?.name ?? ""}'${offset}`;
  if (base === "pkt") {
    const there = reg.range > 0 ? reg.range : 0;
    return `a packet pointer (data${offset}; ${there === 0 ? "no byte" : `${there} bytes`} known to be there)`;
  }
  const words =
    POINTER_WORDS[base] ??
    (base.endsWith("ptr_")
      ? `${base.includes("trusted_") && !base.includes("untrusted_") ? "a trusted" : base.includes("rcu_") ? "an RCU-protected" : base.includes("untrusted_") ? "an untrusted" : "a"} pointer to struct ${reg.struct}`
      : base.endsWith("mem")
        ? `a pointer to ${reg.size} bytes of memory`
        : `a pointer of type ${base}`);
  return `${words}${offset}${orNull}`;
}
