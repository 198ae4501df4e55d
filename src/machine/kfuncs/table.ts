import { DYNPTR_KFUNCS } from "../helpers/dynptr.ts";
import { WORK_QUEUES } from "../helpers/timers.ts";
import { ARENAS } from "./arena.ts";
import { CACHES } from "./caches.ts";
import { CONGESTION } from "./congestion.ts";
import { CONNTRACK } from "./conntrack.ts";
import { CPUMASKS } from "./cpumask.ts";
import { CRYPTO } from "./crypto.ts";
import { CUBIC } from "./cubic.ts";
import { EXCEPTIONS } from "./exceptions.ts";
import { FILES } from "./files.ts";
import { ITERATORS } from "./iterators.ts";
import { KERNEL } from "./kernel.ts";
import { OBJECTS } from "./objects.ts";
import { OTHERS } from "./others.ts";
import { PACKETS } from "./packets.ts";
import { READS } from "./reads.ts";
import { SELFTESTS } from "./selftests.ts";
import { STRING_KFUNCS } from "./strings.ts";
import type { HostKfunc } from "./types.ts";

/** Kernel functions that a machine has, one row each; all that Linux has are in uapi/kfuncs.ts. */
export const HOST_KFUNCS: readonly HostKfunc[] = [
  ...ARENAS,
  ...CACHES,
  ...CONGESTION,
  ...CONNTRACK,
  ...CPUMASKS,
  ...CRYPTO,
  ...CUBIC,
  ...DYNPTR_KFUNCS,
  ...EXCEPTIONS,
  ...FILES,
  ...ITERATORS,
  ...KERNEL,
  ...OBJECTS,
  ...OTHERS,
  ...PACKETS,
  ...READS,
  ...SELFTESTS,
  ...STRING_KFUNCS,
  ...WORK_QUEUES,
];
