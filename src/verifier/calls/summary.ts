/** What passes before the run, and other calls, must know of helpers. */
import type { Instruction } from "../../isa/index.ts";
import { type HelperName, helperName } from "../../uapi/index.ts";
import type { Environment } from "../environment.ts";
import { kfuncOf } from "../kfuncs.ts";
import { isKfuncCall } from "../kinds.ts";
import { helperOf } from "./prototype.ts";

/** What the analyses before the run must know of a helper (get_call_summary); undefined if it does not exist or is not allowed. */
export interface CallSummary {
  readonly parameters: number;
  readonly isVoid: boolean;
  /** The kernel replaces the call by instructions that leave r1 to r5 alone. */
  readonly fastcall: boolean;
}

export function callSummary(env: Environment, instruction: Instruction): CallSummary | undefined {
  if (isKfuncCall(instruction)) {
    const kfunc = kfuncOf(env, instruction);
    if (kfunc?.allowed !== true) return undefined;
    return {
      parameters: kfunc.prototype.parameters.length,
      isVoid: kfunc.btf.kind(kfunc.prototype.type) === "void",
      fastcall: kfunc.flags.has("fastcall") || FASTCALL.has(kfunc.name),
    };
  }
  const found = helperOf(env, instruction.imm);
  if (typeof found === "string") return undefined;
  return {
    parameters: found.args.length,
    isVoid: found.returns === "void",
    fastcall: found.row.fastcall === true,
  };
}

/** Kernel functions that the kernel replaces by an instruction. */
const FASTCALL: ReadonlySet<string> = new Set(["bpf_cast_to_kern_ctx", "bpf_rdonly_cast"]);

const PACKET_CHANGERS: ReadonlySet<string> = new Set<HelperName>([
  "clone_redirect",
  "l3_csum_replace",
  "l4_csum_replace",
  "lwt_push_encap",
  "lwt_seg6_action",
  "lwt_seg6_adjust_srh",
  "lwt_seg6_store_bytes",
  "msg_pop_data",
  "msg_pull_data",
  "msg_push_data",
  "skb_adjust_room",
  "skb_change_head",
  "skb_change_proto",
  "skb_change_tail",
  "skb_pull_data",
  "skb_store_bytes",
  "skb_vlan_pop",
  "skb_vlan_push",
  "store_hdr_opt",
  "xdp_adjust_head",
  "xdp_adjust_meta",
  "xdp_adjust_tail",
  // The program that is called could do any of the above.
  "tail_call",
]);

/** Whether packet pointers die by this helper (bpf_helper_changes_pkt_data). */
export function helperChangesPacketData(id: number): boolean {
  return PACKET_CHANGERS.has(helperName(id) ?? "");
}

/** Whether this helper may sleep (helper_might_sleep). */
export function helperMightSleep(env: Environment, id: number): boolean {
  const found = helperOf(env, id);
  return typeof found !== "string" && found.row.mightSleep === true;
}
