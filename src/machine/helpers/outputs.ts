/** Samples with a part of a packet, sent by programs that trace the kernel's own structures (net/core/filter.c). */
import { findMember } from "../../btf/index.ts";
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { mayRead } from "./memory.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

const INDEX_MASK = 0xffffffffn;
const LENGTH_SHIFT = 32n;
const LENGTH_MASK = 0xfffffn << LENGTH_SHIFT;

/** Where the packet of a structure lies, and its length. */
type PacketOf = (read: (member: string, wide: boolean) => bigint) => {
  readonly data: bigint;
  readonly length: bigint;
};

const OF_SKB: PacketOf = (read) => ({ data: read("data", true), length: read("len", false) });
const OF_XDP: PacketOf = (read) => {
  const data = read("data", true);
  return { data, length: read("data_end", true) - data };
};

/** Reads members of a structure of the kernel, pointers or u32. */
function memberReader(
  helper: HelperName,
  { types, memory }: HelperWorld,
  type: string,
  address: number,
): Parameters<PacketOf>[0] {
  for (const btf of types) {
    const [found] = btf.find(type, "struct");
    if (found === undefined) continue;
    return (member, wide) => {
      const at = address + (findMember(btf, found.id, member)?.bitOffset ?? 0) / 8;
      return wide ? memory.u64(at) : BigInt(memory.u32(at));
    };
  }
  throw notInWorld(
    helper,
    `the machine has no struct ${type}`,
    "give it the kernel's types: Machine.create({ btf })",
  );
}

function output(
  helper: HelperName,
  type: string,
  packetOf: PacketOf,
): (world: HelperWorld, args: HelperArguments) => number {
  return (world, args) => {
    const { memory, core } = world;
    const [map, flags, data, size] = [args.u32(2), args.u64(3), args.u32(4), args.u64(5)];
    if ((flags & ~(LENGTH_MASK | INDEX_MASK)) !== 0n) return -ERRNO.EINVAL;
    const extra = Number((flags & LENGTH_MASK) >> LENGTH_SHIFT);
    const index = flags & INDEX_MASK;
    if (args.u32(1) === 0) return -ERRNO.EFAULT;
    if (extra === 0) return core.perf_event_output(0, map, index, data, size);
    const packet = packetOf(memberReader(helper, world, type, args.u32(1)));
    if (BigInt(extra) > packet.length || !mayRead(core, packet.data, extra)) return -ERRNO.EFAULT;
    // The packet follows the program's own data in the sample.
    const both = memory.alloc(Number(size) + extra, "sample", 8);
    try {
      memory.write(both, memory.read(data, Number(size)));
      memory.write(both + Number(size), memory.read(Number(packet.data), extra));
      return core.perf_event_output(0, map, index, both, size + BigInt(extra));
    } finally {
      memory.free(both);
    }
  };
}

export const OUTPUTS: readonly HostHelper[] = [
  { name: "skb_output", args: 5, call: output("skb_output", "sk_buff", OF_SKB) },
  { name: "xdp_output", args: 5, call: output("xdp_output", "xdp_buff", OF_XDP) },
];
