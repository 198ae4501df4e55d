/** Contexts of programs as the kernel's own structures (bpf_cast_to_kern_ctx). */
import {
  CTX_HEAD,
  CTX_KIND,
  EXEC_PROG,
  KIND_NONE,
  KIND_XDP,
  SKB_DATA,
  SKB_HASH,
  SKB_LEN,
  SKB_PROTOCOL,
  XDP_DATA,
  XDP_DATA_END,
  XDP_DATA_META,
} from "../../core/layout.ts";
import { type HelperArguments, type HelperWorld, notInWorld } from "../helpers/types.ts";
import type { KernelObject } from "../objects/index.ts";

// Of struct __sk_buff.
const SKB_MARK = 8;

interface Contexts {
  readonly skb?: KernelObject;
  readonly xdp?: KernelObject;
  readonly address?: KernelObject;
  readonly path?: KernelObject;
  readonly event?: KernelObject;
}
const contexts = new WeakMap<HelperWorld, Contexts>();

/** Of struct sockaddr_un. */
const FAMILY_BYTES = 2;
const AF_UNIX = 1;

/** The address that a socket is to get, as the kernel's own structure has it; the context itself where there is no such type. */
function addressContext(world: HelperWorld, context: number): bigint {
  const known = contexts.get(world) ?? {};
  const address = known.address ?? world.alloc("bpf_sock_addr_kern", {});
  if (address === undefined) return BigInt(context);
  const path = known.path ?? world.alloc("sockaddr_un", { sun_family: AF_UNIX });
  contexts.set(world, { ...known, address, ...(path === undefined ? {} : { path }) });
  if (path !== undefined && address.has("uaddr")) address.set({ uaddr: path });
  notePath(world, world.run.unixPath ?? new Uint8Array(0));
  return BigInt(address.address);
}

/** The name of a socket in the file system, as programs see it in the kernel's structures. */
export function notePath(world: HelperWorld, bytes: Uint8Array): void {
  const { address, path } = contexts.get(world) ?? {};
  const at = path?.offsetOf("sun_path");
  if (path !== undefined && at !== undefined) {
    world.memory.u8.fill(0, path.address + at, path.address + path.size);
    world.memory.write(path.address + at, bytes.subarray(0, path.size - at));
  }
  if (address?.has("uaddrlen") === true) address.set({ uaddrlen: FAMILY_BYTES + bytes.length });
}

/** An event of a TCP socket as the kernel's own structure; the context itself where there is no such type. */
function eventContext(world: HelperWorld, context: number): bigint {
  const known = contexts.get(world) ?? {};
  const event = known.event ?? world.alloc("bpf_sock_ops_kern", {});
  if (event === undefined) return BigInt(context);
  contexts.set(world, { ...known, event });
  if (event.has("op")) event.set({ op: world.memory.u32(context) });
  return BigInt(event.address);
}

/** Whether an address is what bpf_cast_to_kern_ctx gives for the context of the run. */
export function isKernelContext(world: HelperWorld, address: number): boolean {
  const { address: sockAddress, event } = contexts.get(world) ?? {};
  return address !== 0 && [world.run.context, sockAddress?.address, event?.address].includes(address);
}

/** The kernel's own structure of a packet, as far as the context tells; of a probe the context itself. */
export function kernelContext(world: HelperWorld, args: HelperArguments): bigint {
  const { memory } = world;
  const context = args.u32(1);
  const { type } = world.programAt(memory.u32(args.exec + EXEC_PROG));
  if (type === "kprobe") return args.u64(1);
  if (type === "cgroup_sock_addr") return addressContext(world, context);
  if (type === "sock_ops") return eventContext(world, context);
  const kind = memory.u32(context + CTX_KIND);
  const known = contexts.get(world) ?? {};
  const lacking = (name: string): Error =>
    notInWorld(
      "cast_to_kern_ctx",
      `the machine has no struct ${name}`,
      "give it the kernel's types: Machine.create({ btf })",
    );
  const put = (object: KernelObject | undefined, name: string, members: Record<string, number>): bigint => {
    if (object === undefined) throw lacking(name);
    object.set(Object.fromEntries(Object.entries(members).filter(([member]) => object.has(member))));
    return BigInt(object.address);
  };
  if (kind === KIND_XDP) {
    const xdp = known.xdp ?? world.alloc("xdp_buff", {});
    contexts.set(world, { ...known, ...(xdp === undefined ? {} : { xdp }) });
    return put(xdp, "xdp_buff", {
      data: memory.u32(context + XDP_DATA),
      data_end: memory.u32(context + XDP_DATA_END),
      data_meta: memory.u32(context + XDP_DATA_META),
    });
  }
  if (kind !== KIND_NONE) {
    const skb = known.skb ?? world.alloc("sk_buff", {});
    contexts.set(world, { ...known, ...(skb === undefined ? {} : { skb }) });
    return put(skb, "sk_buff", {
      len: memory.u32(context + SKB_LEN),
      data: memory.u32(context + SKB_DATA),
      head: memory.u32(context + CTX_HEAD),
      mark: memory.u32(context + SKB_MARK),
      protocol: memory.u32(context + SKB_PROTOCOL),
      hash: memory.u32(context + SKB_HASH),
    });
  }
  throw notInWorld(
    "cast_to_kern_ctx",
    `nothing is known of the kernel's own context of ${type ?? "such"} programs`,
    "look at the context itself",
  );
}
