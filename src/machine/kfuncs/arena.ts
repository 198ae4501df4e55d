/** Pages of arenas (kernel/bpf/arena.c). A page lies where its address says in both address spaces of a program. */
import { ERRNO } from "../../uapi/index.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import type { HostKfunc } from "./types.ts";

const NO_NODE = -1;

const isArena = (world: HelperWorld, args: HelperArguments): boolean =>
  world.mapAt(args.u32(1))?.type === "arena";

export const ARENAS: readonly HostKfunc[] = [
  {
    name: "bpf_arena_alloc_pages",
    call(world, args) {
      const [map, address, count, node] = [args.u32(1), args.u32(2), args.u32(3), args.i32(4)];
      if (!isArena(world, args) || args.u64(5) !== 0n) return 0n;
      const { numaNodes } = world.world;
      if (node !== NO_NODE && !(node === 0 || numaNodes.includes(node))) return 0n;
      return BigInt(world.core.arena_alloc_pages(map, address, count) >>> 0);
    },
  },
  {
    name: "bpf_arena_free_pages",
    call(world, args) {
      const [map, address, count] = [args.u32(1), args.u32(2) & ~0xfff, args.u32(3)];
      if (isArena(world, args) && address !== 0 && count !== 0)
        world.core.arena_free_pages(map, address >>> 0, count);
    },
  },
  {
    name: "bpf_arena_reserve_pages",
    call(world, args) {
      if (!isArena(world, args)) return -ERRNO.EINVAL;
      return args.u32(3) === 0 ? 0 : world.core.arena_reserve_pages(args.u32(1), args.u32(2), args.u32(3));
    },
  },
];
