/** Functions that the kernel has for its own self-tests (net/bpf/test_run.c). */
import { structureAt } from "./structures.ts";
import type { HostKfunc } from "./types.ts";

export const SELFTESTS: readonly HostKfunc[] = [
  {
    // One reference less in a structure that the tests have.
    name: "bpf_kfunc_call_test_release",
    call(world, args) {
      const object = structureAt("kfunc_call_test_release", world, "prog_test_ref_kfunc", args.u32(1));
      const count = object.placeOf("cnt");
      if (count !== undefined) world.memory.setU32(count, world.memory.u32(count) - 1);
    },
  },
  { name: "bpf_kfunc_call_memb_release", call: () => undefined },
  { name: "bpf_modify_return_test_tp", call: (_world, args) => args.i32(1) },
];
