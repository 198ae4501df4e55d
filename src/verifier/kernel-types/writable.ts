/**
 * Members of kernel structures that programs may write: those that the subsystem of a program type lists
 * (btf_struct_access of struct bpf_verifier_ops, and of struct_ops).
 */
import { type Btf, findMember, resolve, sizeOf } from "../../btf/index.ts";
import { KERNEL_WRITES } from "../../uapi/index.ts";
import type { Environment } from "../environment.ts";
import { targetOf } from "./target.ts";

/** tc_cls_act and XDP: the mark of a connection (nf_conntrack_btf_struct_access). */
const CONNTRACK_TYPES: ReadonlySet<string> = new Set(
  KERNEL_WRITES.filter(({ struct }) => struct === "nf_conn").flatMap(({ types = [] }) => types),
);

const TCP = "tcp_congestion_ops";
/** Of struct tcp_sock (bpf_tcp_ca_btf_struct_access). */
const TCP_MEMBERS = KERNEL_WRITES.filter((row) => row.interface === TCP);

/** True if the write is allowed; false if the program type has no list. What a list lacks is refused here. */
export function checkKernelWrite(env: Environment, struct: string, off: number, size: number): boolean {
  if (env.type === "struct_ops") {
    const { struct: interfaceName, btf } = targetOf(env);
    if (interfaceName === TCP) checkTcp(env, btf, struct, off, size);
    else if (interfaceName === "bpf_dummy_ops") checkDummy(env, btf, struct, off, size);
    else if (interfaceName === "sched_ext_ops") checkTask(env, btf, struct, off, size);
    else if (interfaceName === "hid_bpf_ops") checkHid(env, btf, struct, off, size);
    else throw env.unsupported(`writes of ${interfaceName ?? ""}`);
    return true;
  }
  if (!CONNTRACK_TYPES.has(env.type)) return false;
  checkConnection(env, struct, off, size);
  return true;
}

/** Of a connection its mark (_nf_conntrack_btf_struct_access). */
function checkConnection(env: Environment, struct: string, off: number, size: number): void {
  if (struct !== "nf_conn" && struct !== "nf_conn___init") {
    throw env.reject("EACCES", "only read is supported");
  }
  const { kernelBtf } = env.program;
  const place = kernelBtf === undefined ? undefined : placeOf(kernelBtf, "nf_conn", ["mark"]);
  if (place?.from !== off) throw env.reject("EACCES", `no write support to nf_conn at off ${off}`);
  if (off + size > place.end) {
    throw env.reject(
      "EACCES",
      `write access at off ${off} with size ${size} beyond the member of nf_conn ended at ${place.end}`,
    );
  }
}

function checkTcp(env: Environment, btf: Btf, struct: string, off: number, size: number): void {
  if (struct !== "tcp_sock") throw env.reject("EACCES", "only read is supported");
  for (const { struct: outer, path } of TCP_MEMBERS) {
    const place = placeOf(btf, outer, path);
    if (place === undefined) continue;
    // The private area may be entered anywhere, others at their beginning.
    const inside = path[0] === "icsk_ca_priv" ? off >= place.from && off < place.end : off === place.from;
    if (!inside) continue;
    if (off + size <= place.end) return;
    throw env.reject(
      "EACCES",
      `write access at off ${off} with size ${size} beyond the member of tcp_sock ended at ${place.end}`,
    );
  }
  throw env.reject("EACCES", `no write support to tcp_sock at off ${off}`);
}

function placeOf(
  btf: Btf,
  struct: string,
  path: readonly string[],
): { readonly from: number; readonly end: number } | undefined {
  let id = btf.find(struct, "struct")[0]?.id;
  let from = 0;
  for (const name of path) {
    const member = id === undefined ? undefined : findMember(btf, id, name);
    if (member === undefined) return undefined;
    from += member.bitOffset / 8;
    id = resolve(btf, member.type).id;
  }
  return id === undefined ? undefined : { from, end: from + sizeOf(btf, id) };
}

/** Of a task what its scheduler decides (bpf_scx_btf_struct_access). */
function checkTask(env: Environment, btf: Btf, struct: string, off: number, size: number): void {
  if (struct === "task_struct") {
    for (const name of ["slice", "dsq_vtime", "disallow"]) {
      const place = placeOf(btf, "task_struct", ["scx", name]);
      if (place !== undefined && off >= place.from && off + size <= place.end) return;
    }
  }
  throw env.reject("EACCES");
}

/** The answer, and the texts of a device but for their last byte (hid_bpf_ops_btf_struct_access). */
const HID_MEMBERS: Readonly<Record<string, readonly (readonly [name: string, reserved: number])[]>> = {
  hid_bpf_ctx: [["retval", 0]],
  hid_device: [
    ["name", 1],
    ["uniq", 1],
    ["phys", 1],
  ],
};

function checkHid(env: Environment, btf: Btf, struct: string, off: number, size: number): void {
  const members = HID_MEMBERS[struct];
  if (members === undefined) throw env.reject("EACCES", "write access to this struct is not supported");
  const [type] = btf.find(struct, "struct");
  if (type?.kind === "struct" && off + size > type.size) {
    throw env.reject("EACCES", `write access for struct ${struct} at off ${off} with size ${size}`);
  }
  for (const [name, reserved] of members) {
    const place = placeOf(btf, struct, [name]);
    if (place !== undefined && off >= place.from && off + size <= place.end - reserved) return;
  }
  throw env.reject("EACCES", `write access at off ${off} with size ${size} on read-only part of ${struct}`);
}

function checkDummy(env: Environment, btf: Btf, struct: string, off: number, size: number): void {
  const [state] = btf.find("bpf_dummy_ops_state", "struct");
  if (state?.kind !== "struct") throw env.reject("EINVAL");
  if (struct !== state.name) throw env.reject("EACCES", "only access to bpf_dummy_ops_state is supported");
  if (off + size > state.size) {
    throw env.reject("EACCES", `write access at off ${off} with size ${size}`);
  }
}
