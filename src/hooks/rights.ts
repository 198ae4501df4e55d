/**
 * What a program may load from its context and store to it: the rules of the kernel's is_valid_access callbacks
 * (net/core/filter.c, kernel/bpf/cgroup.c, kernel/trace/bpf_trace.c), read from the table. A test asks the running kernel
 * about every offset and width.
 */
import type { AttachType } from "../uapi/index.ts";
import type { AccessRule, ContextField, ContextLayout, FieldKind, Hook, ReturnRule } from "./types.ts";

/** Loads of up to the whole element, at its first byte or inside it: bpf_ctx_narrow_access_ok. */
export const NARROW: AccessRule = { sizes: [1, 2, 4], inside: true };
/** Loads of up to the whole element, but only from its first byte on. */
export const NARROW_FIRST: AccessRule = { sizes: [1, 2, 4] };
export const NARROW64: AccessRule = { sizes: [1, 2, 4, 8], inside: true };
export const WHOLE: AccessRule = { sizes: [4] };
export const WHOLE64: AccessRule = { sizes: [8] };

/** A rule for some attach types only. */
export function only(rule: AccessRule, types: readonly AttachType[]): AccessRule {
  return { ...rule, only: types };
}

/** A load or store through the context pointer. */
export interface ContextAccess {
  /** From the start of the context, in bytes. */
  readonly offset: number;
  readonly size: number;
  readonly write: boolean;
  /** A sign-extending load. */
  readonly signed?: boolean;
}

/** What an allowed access touches. */
export interface AccessResult {
  readonly kind: FieldKind;
  /** Absent in an open range. */
  readonly field?: ContextField;
}

/**
 * Whether a program may do an access to its context, and what a load of it yields; undefined if the verifier refuses it.
 * Contexts that are arguments of kernel functions ({@link ContextLayout.arguments}) are decided by BTF, not here.
 *
 * @example
 * contextAccess(hookOf("xdp"), undefined, { offset: 0, size: 4, write: false })?.kind; // "packet"
 */
export function contextAccess(
  { context }: Pick<Hook, "context">,
  attach: AttachType | undefined,
  access: ContextAccess,
): AccessResult | undefined {
  const { offset, size, write, signed } = access;
  if (offset < 0 || offset % size !== 0) return undefined;
  // Where a field lies in an open range, it decides at its first byte only (raw_tp_writable_prog_is_valid_access).
  let covered = false;
  for (const field of context.fields) {
    if (!inField(field, offset)) continue;
    covered ||= offset === field.offset;
    const rule = write ? field.write : field.read;
    if (rule === undefined || !allows(rule, field, offset, size, attach)) continue;
    const kind = field.kind ?? "scalar";
    if (signed === true && kind !== "scalar") return undefined;
    return { kind, field };
  }
  return !covered && inOpenRange(context, access) ? { kind: "scalar" } : undefined;
}

function inField({ offset, size, count = 1 }: ContextField, at: number): boolean {
  return at >= offset && at < offset + size * count;
}

function allows(
  { sizes, inside, only: types }: AccessRule,
  { offset, size: element, count = 1 }: ContextField,
  at: number,
  size: number,
  attach: AttachType | undefined,
): boolean {
  if (!sizes.includes(size)) return false;
  if (types !== undefined && (attach === undefined || !types.includes(attach))) return false;
  const within = (at - offset) % element;
  if (within === 0) return at + size <= offset + Math.max(element * count, ...sizes);
  return inside === true && within + size <= element;
}

function inOpenRange({ open }: ContextLayout, { offset, size, write }: ContextAccess): boolean {
  if (open === undefined || (write && !open.write)) return false;
  return offset >= open.from && (open.last === true ? offset < open.to : offset + size <= open.to);
}

/** LSM hooks that answer yes or no (kernel/bpf/bpf_lsm.c: bool_lsm_hooks). The others answer 0 or an errno negated. */
const YES_NO_HOOKS: readonly string[] = [
  "xfrm_state_pol_flow_match",
  "audit_rule_known",
  "inode_xattr_skipcap",
];

/**
 * What a program of a type and attach type may return, and the names of it. `target` is the LSM hook that a program
 * attaches to; programs at hooks without an answer (void) may return anything, which their BTF tells.
 */
export function returnRule(hook: Hook, attach?: AttachType, target?: string): ReturnRule {
  if (
    hook.type === "lsm" &&
    attach !== "lsm_cgroup" &&
    target !== undefined &&
    YES_NO_HOOKS.includes(target)
  ) {
    return { values: [], range: [0, 1] };
  }
  const rule = hook.returns.find(
    ({ only: types }) => types === undefined || (attach !== undefined && types.includes(attach)),
  );
  return rule ?? { values: [] };
}
