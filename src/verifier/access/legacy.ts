/** LD_ABS and LD_IND: which program types have them (may_access_skb). */
import type { ProgramType } from "../../uapi/index.ts";

const TYPES: ReadonlySet<ProgramType> = new Set<ProgramType>(["socket_filter", "sched_cls", "sched_act"]);

export function isLegacyLoadAllowed(type: ProgramType): boolean {
  return TYPES.has(type);
}
