/**
 * Lists of the kernel's own that programs go through: caches of its allocator (mm/slab_common.c, kernel/bpf/kmem_cache_iter.c) and
 * shared buffers of devices (kernel/bpf/dmabuf_iter.c). The world says which there are.
 */
import { notInWorld, type HelperWorld } from "../helpers/types.ts";
import type { SlabCache } from "../world/options.ts";
import { listKfuncs, startList } from "./iterators.ts";
import type { HostKfunc } from "./types.ts";

function cachesOf(kfunc: string, { world }: HelperWorld): readonly SlabCache[] {
  if (world.slabCaches !== undefined) return world.slabCaches;
  throw notInWorld(
    kfunc,
    "nothing is known of the kernel's caches",
    "say which there are: world: { slabCaches: [{ object: ADDRESS, holds: [[START, END]] }] }",
  );
}

function buffersOf({ world }: HelperWorld): readonly number[] {
  if (world.dmaBuffers !== undefined) return world.dmaBuffers;
  throw notInWorld(
    "iter_dmabuf_new",
    "nothing is known of buffers that devices share",
    "give the addresses of their struct dma_buf: world: { dmaBuffers: [ADDRESS] }",
  );
}

export const CACHES: readonly HostKfunc[] = [
  {
    // NULL of what lies in no cache: large allocations, variables, the stack.
    name: "bpf_get_kmem_cache",
    call(world, args) {
      const address = args.u64(1);
      const found = cachesOf("get_kmem_cache", world).find(({ holds = [] }) =>
        holds.some(([start, end]) => BigInt(start) <= address && address < BigInt(end)),
      );
      return BigInt(found?.object ?? 0);
    },
  },
  {
    name: "bpf_iter_kmem_cache_new",
    call: (world, args) =>
      startList(
        world,
        args.u32(1),
        cachesOf("iter_kmem_cache_new", world).map(({ object }) => object),
      ),
  },
  ...listKfuncs("kmem_cache"),
  {
    name: "bpf_iter_dmabuf_new",
    call: (world, args) => startList(world, args.u32(1), buffersOf(world)),
  },
  ...listKfuncs("dmabuf"),
  // They bring numbers together that the kernel counts for each CPU of a control group; here nobody counts any.
  { name: "css_rstat_updated", call: () => undefined },
  { name: "css_rstat_flush", call: () => undefined },
];
