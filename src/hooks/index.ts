/** Program types: what they are given, what their results mean. Pure tables and conversions; `machine/` runs them. */
export type {
  AccessRule,
  ContextField,
  ContextLayout,
  Fate,
  FieldKind,
  Hook,
  OpenRange,
  PacketHook,
  PacketRules,
  ReturnRule,
  ReturnValue,
} from "./types.ts";
export { HOOKS, PACKET_HOOKS, hookOf, returnName, takesPackets } from "./table.ts";
export { type AccessResult, type ContextAccess, contextAccess, returnRule } from "./rights.ts";
export { type ContextValues, contextRights, contextTemplate, decodeContext } from "./context.ts";
