import { DYNPTR_KFUNCS } from "../helpers/dynptr.ts";
import { WORK_QUEUES } from "../helpers/timers.ts";
import { CPUMASKS } from "./cpumask.ts";
import { ITERATORS } from "./iterators.ts";
import { KERNEL } from "./kernel.ts";
import { OBJECTS } from "./objects.ts";
import { STRING_KFUNCS } from "./strings.ts";
import type { HostKfunc } from "./types.ts";

/** Kernel functions that a machine has, one row each; all that Linux has are in uapi/kfuncs.ts. */
export const HOST_KFUNCS: readonly HostKfunc[] = [
  ...CPUMASKS,
  ...DYNPTR_KFUNCS,
  ...ITERATORS,
  ...KERNEL,
  ...OBJECTS,
  ...STRING_KFUNCS,
  ...WORK_QUEUES,
];
