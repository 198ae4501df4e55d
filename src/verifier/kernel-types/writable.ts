/**
 * Members of kernel structures that programs may write: those that the subsystem of a program type lists
 * (btf_struct_access of struct bpf_verifier_ops, and of struct_ops).
 */
import type { Environment } from "../environment.ts";

/** tc_cls_act and XDP: the mark of a connection (nf_conntrack_btf_struct_access). */
const CONNTRACK_TYPES: ReadonlySet<string> = new Set(["sched_cls", "sched_act", "xdp"]);

/** True if the write is allowed; false if the program type has no list. What a list lacks is refused here. */
export function checkKernelWrite(env: Environment, struct: string, off: number, size: number): boolean {
  if (env.type === "struct_ops") throw env.unsupported("writes to kernel structures of struct_ops programs");
  if (!CONNTRACK_TYPES.has(env.type)) return false;
  void off;
  void size;
  if (struct.startsWith("nf_conn")) throw env.unsupported("writes to connections");
  throw env.reject("EACCES");
}
