/**
 * A hash of a packet's flow. The kernel's is keyed by a random number of each boot; what can be relied on is that packets of
 * one flow have the same, in both directions the same (linux: __flow_hash_consistentify), and that it is not 0.
 */
import { CTX_NET, SKB_DATA_END, SKB_PROTOCOL } from "../../core/layout.ts";
import type { LinearMemory } from "../memory.ts";

const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
const WITH_PORTS: readonly number[] = [6, 17, 33, 132, 136];

export function flowHash(memory: LinearMemory, skb: number): number {
  const { u8 } = memory;
  const protocol = memory.u32(skb + SKB_PROTOCOL);
  const start = memory.u32(skb + CTX_NET);
  const end = memory.u32(skb + SKB_DATA_END);
  const ipv4 = protocol === ETH_P_IP && start + 20 <= end;
  const ipv6 = protocol === ETH_P_IPV6 && start + 40 <= end;
  if (!ipv4 && !ipv6) return mix([protocol & 0xff, protocol >> 8]);
  const size = ipv4 ? 4 : 16;
  const addresses = start + (ipv4 ? 12 : 8);
  const transport = u8[start + (ipv4 ? 9 : 6)] as number;
  const header = start + (ipv4 ? ((u8[start] as number) & 15) * 4 : 40);
  const fragment = ipv4 && ((u8[start + 6] as number) & 0x1f) + (u8[start + 7] as number) !== 0;
  let ends = [
    [...u8.subarray(addresses, addresses + size)],
    [...u8.subarray(addresses + size, addresses + 2 * size)],
  ] as [number[], number[]];
  if (WITH_PORTS.includes(transport) && !fragment && header + 4 <= end) {
    ends[0].push(...u8.subarray(header, header + 2));
    ends[1].push(...u8.subarray(header + 2, header + 4));
  }
  if (compare(ends[0], ends[1]) > 0) ends = [ends[1], ends[0]];
  return mix([transport, ...ends[0], ...ends[1]]);
}

function compare(a: readonly number[], b: readonly number[]): number {
  const index = a.findIndex((byte, at) => byte !== b[at]);
  return index < 0 ? 0 : (a[index] as number) - (b[index] as number);
}

/** FNV-1a with a finaliser, never 0. */
function mix(bytes: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  return hash >>> 0 || 1;
}
