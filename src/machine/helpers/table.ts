import { FIB } from "./fib.ts";
import { SKB } from "./skb.ts";
import { STRINGS } from "./strings.ts";
import { TASKS } from "./tasks.ts";
import { TIME } from "./time.ts";
import { TRACE } from "./trace.ts";
import { TUNNELS } from "./tunnel.ts";
import type { HostHelper } from "./types.ts";

/** Helpers in TypeScript, one row each; those of the core are in core/helpers.ts. */
export const HOST_HELPERS: readonly HostHelper[] = [
  ...FIB,
  ...SKB,
  ...STRINGS,
  ...TASKS,
  ...TIME,
  ...TRACE,
  ...TUNNELS,
];
