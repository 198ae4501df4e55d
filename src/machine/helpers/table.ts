import { DESCRIBE } from "./describe.ts";
import { DYNPTRS } from "./dynptr.ts";
import { FIB } from "./fib.ts";
import { LIGHT_TUNNELS } from "./lwt.ts";
import { MESSAGES } from "./messages.ts";
import { OUTPUTS } from "./outputs.ts";
import { POINTERS } from "./pointers.ts";
import { GROUPS } from "./groups.ts";
import { RINGS } from "./rings.ts";
import { RUNS } from "./runs.ts";
import { STACKS } from "./stacks.ts";
import { SECURITY } from "./security.ts";
import { SKB } from "./skb.ts";
import { SOCKET_MAPS } from "./socket-maps.ts";
import { SOCKETS } from "./sockets.ts";
import { SOCKOPTS } from "./sockopts.ts";
import { STRINGS } from "./strings.ts";
import { SYNCOOKIES } from "./syncookies.ts";
import { SYSTEM } from "./system.ts";
import { TASKS } from "./tasks.ts";
import { TCP_OPTIONS } from "./tcp-options.ts";
import { TIME } from "./time.ts";
import { TIMERS } from "./timers.ts";
import { TRACE } from "./trace.ts";
import { TUNNELS } from "./tunnel.ts";
import type { HostHelper } from "./types.ts";

/** Helpers in TypeScript, one row each; those of the core are in core/helpers.ts. */
export const HOST_HELPERS: readonly HostHelper[] = [
  ...DESCRIBE,
  ...DYNPTRS,
  ...FIB,
  ...GROUPS,
  ...LIGHT_TUNNELS,
  ...MESSAGES,
  ...OUTPUTS,
  ...POINTERS,
  ...RINGS,
  ...RUNS,
  ...STACKS,
  ...SECURITY,
  ...SKB,
  ...SOCKET_MAPS,
  ...SOCKETS,
  ...SOCKOPTS,
  ...STRINGS,
  ...SYNCOOKIES,
  ...SYSTEM,
  ...TASKS,
  ...TCP_OPTIONS,
  ...TIME,
  ...TIMERS,
  ...TRACE,
  ...TUNNELS,
];
