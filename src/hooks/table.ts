/** The program types of Linux 6.18, one row each, in files by family. */
import { type AttachType, PROGRAM_TYPES, type ProgramType, errnoName } from "../uapi/index.ts";
import { CGROUP_HOOKS } from "./cgroup.ts";
import { NETWORK_HOOKS } from "./network.ts";
import { returnRule } from "./rights.ts";
import { SOCKET_HOOKS } from "./sockets.ts";
import { TRACING_HOOKS } from "./tracing.ts";
import type { Hook, PacketHook } from "./types.ts";

const ALL = [...NETWORK_HOOKS, ...SOCKET_HOOKS, ...CGROUP_HOOKS, ...TRACING_HOOKS];
const BY_TYPE: ReadonlyMap<ProgramType, Hook> = new Map(ALL.map((hook) => [hook.type, hook]));

/** All program types, in the order of their numbers. */
export const HOOKS: readonly Hook[] = PROGRAM_TYPES.map(({ name }) => hookOf(name));

/** The row of a program type. */
export function hookOf(type: ProgramType): Hook {
  return BY_TYPE.get(type) as Hook;
}

/** Whether programs of the type run over the packets of a capture. */
export function takesPackets(hook: Hook): hook is PacketHook {
  return hook.packet !== undefined;
}

/** The types that run over the packets of a capture. */
export const PACKET_HOOKS: readonly PacketHook[] = HOOKS.filter(takesPackets);

/**
 * The name of a return value: "XDP_DROP"; "KEEP" for a socket filter that keeps bytes; "EPERM" for an error; the number if
 * it has no name.
 */
export function returnName(hook: Hook, value: number, attach?: AttachType): string {
  const { values, errno } = returnRule(hook, attach);
  const known = values.find((row) => row.value === value);
  if (known !== undefined) return known.name;
  if (errno === true && value < 0 && value >= -4095) return errnoName(value);
  return hook.type === "socket_filter" ? "KEEP" : String(value);
}
