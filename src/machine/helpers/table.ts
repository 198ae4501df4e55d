import { DYNPTRS } from "./dynptr.ts";
import { FIB } from "./fib.ts";
import { MESSAGES } from "./messages.ts";
import { POINTERS } from "./pointers.ts";
import { GROUPS } from "./groups.ts";
import { RUNS } from "./runs.ts";
import { STACKS } from "./stacks.ts";
import { SKB } from "./skb.ts";
import { SOCKETS } from "./sockets.ts";
import { SOCKOPTS } from "./sockopts.ts";
import { STRINGS } from "./strings.ts";
import { TASKS } from "./tasks.ts";
import { TIME } from "./time.ts";
import { TIMERS } from "./timers.ts";
import { TRACE } from "./trace.ts";
import { TUNNELS } from "./tunnel.ts";
import type { HostHelper } from "./types.ts";

/** Helpers in TypeScript, one row each; those of the core are in core/helpers.ts. */
export const HOST_HELPERS: readonly HostHelper[] = [
  ...DYNPTRS,
  ...FIB,
  ...GROUPS,
  ...MESSAGES,
  ...POINTERS,
  ...RUNS,
  ...STACKS,
  ...SKB,
  ...SOCKETS,
  ...SOCKOPTS,
  ...STRINGS,
  ...TASKS,
  ...TIME,
  ...TIMERS,
  ...TRACE,
  ...TUNNELS,
];
