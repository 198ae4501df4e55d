/**
 * Which loads may go through pointers to the kernel's structures. A verifier knows them one by one; where none has looked, the
 * program's type tells, or what the program calls: then every load that is not from the stack reads zero where nothing is.
 */
import { type Instruction, rowOf } from "../isa/index.ts";
import { type ProgramType, helperId } from "../uapi/index.ts";
import type { ProgramImage } from "./image.ts";

/** Types whose arguments are such pointers. */
const TYPES: ReadonlySet<ProgramType> = new Set<ProgramType>(["tracing", "lsm", "struct_ops", "netfilter"]);

/** Helpers that return them. */
const HELPERS: ReadonlySet<number | undefined> = new Set(
  (
    [
      "get_current_task_btf",
      "task_pt_regs",
      "sock_from_file",
      "per_cpu_ptr",
      "this_cpu_ptr",
      "kptr_xchg",
      "skc_to_tcp6_sock",
      "skc_to_tcp_sock",
      "skc_to_tcp_timewait_sock",
      "skc_to_tcp_request_sock",
      "skc_to_udp6_sock",
      "skc_to_unix_sock",
      "skc_to_mptcp_sock",
    ] as const
  ).map((name) => helperId(name)),
);

const FRAME_POINTER = 10;

/**
 * In the sandbox only types whose arguments are such pointers: elsewhere what is not the program's stops it, which says more.
 */
export function probedSlots({ type, instructions }: ProgramImage, sandboxed: boolean): ReadonlySet<number> {
  const slots = new Set<number>();
  const asks = (type !== undefined && TYPES.has(type)) || (!sandboxed && instructions.some(yieldsPointer));
  if (!asks) return slots;
  instructions.forEach((instruction, slot) => {
    const semantics = rowOf(instruction)?.semantics;
    if (semantics?.kind === "load" && instruction.src !== FRAME_POINTER) slots.add(slot);
  });
  return slots;
}

function yieldsPointer(instruction: Instruction): boolean {
  const semantics = rowOf(instruction)?.semantics;
  if (semantics?.kind !== "call") return false;
  return semantics.target === "kfunc" || (semantics.target === "helper" && HELPERS.has(instruction.imm));
}
