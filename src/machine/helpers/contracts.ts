/**
 * What helpers take as pointers, for the checks of sandboxed programs: the table of prototypes in the core's form. Nothing is
 * said twice: a helper that the prototypes know is checked as they say, one that they do not know may not be called.
 */
import {
  CONTRACT_KEEPS_BIT,
  POINTER_ANY,
  POINTER_CONTEXT,
  POINTER_IN,
  POINTER_IN_BYTES,
  POINTER_KEY,
  POINTER_LOCK,
  POINTER_MAP,
  POINTER_NULLABLE,
  POINTER_OBJECT,
  POINTER_OUT,
  POINTER_OUT_BYTES,
  POINTER_REFUSED,
  POINTER_SAMPLE,
  POINTER_START,
  POINTER_STRING,
  POINTER_UNLOCK,
  POINTER_VALUE,
  POINTER_VALUE_OUT,
} from "../../core/layout.ts";
import {
  HELPERS,
  type HelperName,
  type AttachType,
  type ProgramType,
  type PrototypeRow,
  allowedHelpers,
  kfuncOf,
  prototypeOf,
} from "../../uapi/index.ts";
import { DYNPTR_BYTES } from "./dynptr.ts";
import { isGuarded, roomOf } from "./handles.ts";

/** ARG_ names that stand for one kind of pointer, whatever their flags. */
const KINDS: Readonly<Record<string, number>> = {
  anything: POINTER_ANY,
  scalar: POINTER_ANY,
  const_size: POINTER_ANY,
  const_size_or_zero: POINTER_ANY,
  const_alloc_size_or_zero: POINTER_ANY,
  // Whoever calls back looks at the function itself, and the callback's accesses are checked like all others.
  ptr_to_func: POINTER_ANY,
  ptr_to_stack: POINTER_ANY,
  const_map_ptr: POINTER_MAP,
  ptr_to_map_key: POINTER_KEY,
  ptr_to_ctx: POINTER_CONTEXT,
  ptr_to_const_str: POINTER_STRING,
  ptr_to_ringbuf_mem: POINTER_SAMPLE,
  ptr_to_btf_id: POINTER_OBJECT,
  ptr_to_btf_id_sock_common: POINTER_OBJECT,
  ptr_to_sock_common: POINTER_OBJECT,
  ptr_to_socket: POINTER_OBJECT,
  ptr_to_spin_lock: POINTER_LOCK,
  // Handles, which guards look at (guards.ts).
  kptr_xchg_dest: POINTER_ANY,
  ptr_to_timer: POINTER_ANY,
  ptr_to_dynptr: POINTER_ANY,
  // Of what is no per-CPU object the address itself comes back.
  ptr_to_percpu_btf_id: POINTER_ANY,
};

/** Memory arguments without flags that are read nevertheless: the kernel's prototypes are not strict here. */
const READERS: readonly HelperName[] = ["kallsyms_lookup_name"];

/**
 * Helpers after which the packet may lie elsewhere or end elsewhere (net/core/filter.c: bpf_helper_changes_pkt_data, of those
 * the ones that move it), and a tail call, which does not come back.
 */
const MOVERS: readonly HelperName[] = [
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
];

function kindOf(row: PrototypeRow, index: number): number {
  const [name = "", ...flags] = (row.args[index] ?? "anything").split(" ");
  const nullable = flags.includes("maybe_null") ? POINTER_NULLABLE : 0;
  const known = KINDS[name];
  if (known !== undefined) {
    if (name === "ptr_to_ctx" && row.helper === "tail_call") return POINTER_START;
    if (row.helper === "spin_unlock") return POINTER_UNLOCK;
    if (row.helper === "kptr_xchg") return POINTER_ANY;
    if (name === "ptr_to_dynptr" && flags.includes("uninit")) return POINTER_OUT_BYTES + DYNPTR_BYTES;
    return known === POINTER_ANY || known >= POINTER_IN_BYTES ? known : known + nullable;
  }
  if (name === "ptr_to_map_value")
    return (flags.includes("write") ? POINTER_VALUE_OUT : POINTER_VALUE) + nullable;
  if (name !== "ptr_to_mem") return POINTER_REFUSED;
  const writes = !flags.includes("rdonly") && !READERS.includes(row.helper);
  const size = flags.find((flag) => flag.startsWith("size="));
  if (size !== undefined) {
    // Headers that syncookie helpers read have a fixed size and no flag; what is written is aligned.
    const out = flags.includes("write");
    return (out ? POINTER_OUT_BYTES : POINTER_IN_BYTES) + Number(size.slice(5));
  }
  return (writes ? POINTER_OUT : POINTER_IN) + nullable;
}

/** Whether memory that a program could touch before a call of the helper lies there after it. */
export function keepsWindows(row: PrototypeRow): boolean {
  if (MOVERS.includes(row.helper)) return false;
  return !row.args.some((arg) => arg.startsWith("ptr_to_func") || arg.includes("release"));
}

/** Whose prototypes hold for programs without a type: a type for which no helper has a meaning of its own. */
const TYPELESS: ProgramType = "socket_filter";

const KEEPS = 1n << BigInt(CONTRACT_KEEPS_BIT);

/** C types of kernel functions' arguments, and what they stand for. What has no row here, sandboxed programs may not call. */
const KFUNC_KINDS: readonly (readonly [RegExp, number])[] = [
  [/^[^*]*$/, POINTER_ANY],
  // Not looked at by the kernel's verifier either: the function itself asks whether it may read there.
  [/__ign$|__prog$/, POINTER_ANY],
  // They ask themselves whether it is the run's.
  [/^struct bpf_sock_(ops|addr)_kern \*/, POINTER_ANY],
  [/^const char \*\w+__str$/, POINTER_STRING],
  [/__map$|^const struct bpf_map \*/, POINTER_MAP],
  [/^(const )?struct (xdp_md|__sk_buff) \*|^void \*obj$/, POINTER_CONTEXT],
  [/^int \*/, POINTER_OUT_BYTES + 4],
  [/^union nf_inet_addr \*/, POINTER_IN_BYTES + 16],
  [
    /^(const )?struct (task_struct|cgroup|cgroup_subsys_state|file|dentry|path|inode|super_block|sock|sock_common|tcp_sock|nf_conn|nf_conn___init|xfrm_state|ack_sample|rate_sample|prog_test_ref_kfunc|prog_test_member) \*/,
    POINTER_OBJECT,
  ],
];

const SIZE = /__szk?$/;

function kfuncKind(name: string, args: readonly string[], index: number): number {
  const arg = args[index] as string;
  const room = roomOf(name, index);
  if (room !== 0) return POINTER_OUT_BYTES + room;
  if (
    isGuarded(name, index) &&
    !/^(const )?struct (task_struct|cgroup|file|nf_conn|nf_conn___init) \*/.test(arg)
  )
    return POINTER_ANY;
  // `__opt`: a buffer that need not be there.
  const nullable = /__nullable$|__opt$/.test(arg) ? POINTER_NULLABLE : 0;
  const known = KFUNC_KINDS.find(([type]) => type.test(arg))?.[1];
  if (known !== undefined)
    return known === POINTER_ANY || known >= POINTER_IN_BYTES ? known : known + nullable;
  if (SIZE.test(args[index + 1] ?? ""))
    return (arg.startsWith("const ") ? POINTER_IN : POINTER_OUT) + nullable;
  return POINTER_REFUSED;
}

/** What the first argument is for a call that hands over the run's packet as the kernel's own structure. */
export const withoutPacket = (contract: bigint): bigint =>
  (contract & 0xffn) === BigInt(POINTER_CONTEXT) ? contract & ~0xffn : contract;

/** What a call of a kernel function is checked for, beside its handles (handles.ts). */
export function kfuncContract(name: string): bigint {
  const row = kfuncOf(name);
  if (row === undefined) return BigInt(POINTER_REFUSED);
  return row.args.reduce(
    (sum, _, index) => sum | (BigInt(kfuncKind(name, row.args, index)) << BigInt(8 * index)),
    0n,
  );
}

/** The kinds of r1, r2 and so on in a contract, as far as one of them must be something. */
export function argumentKinds(contract: bigint): number[] {
  const kinds: number[] = [];
  for (let rest = contract & (KEEPS - 1n); rest !== 0n; rest >>= 8n) kinds.push(Number(rest & 0xffn));
  return kinds;
}

/**
 * For each helper id what a call is checked for: a byte for each of r1 to r5, r1's lowest, above them whether windows keep.
 * Without a type, of a program that cannot be told what is allowed, all helpers are.
 */
export function helperContracts(type: ProgramType | undefined, attachType?: AttachType): BigUint64Array {
  const contracts = new BigUint64Array(Math.max(...HELPERS.map(({ id }) => id)) + 1).fill(
    BigInt(POINTER_REFUSED),
  );
  const allowed =
    type === undefined
      ? undefined
      : allowedHelpers({ type, ...(attachType === undefined ? {} : { attachType }) });
  for (let id = 1; id < contracts.length; id++) {
    if (allowed?.has(id) === false) continue;
    const row = prototypeOf(id, { type: type ?? TYPELESS });
    if (row === undefined) continue;
    const kinds = row.args.reduce(
      (sum, _, index) => sum | (BigInt(kindOf(row, index)) << BigInt(8 * index)),
      0n,
    );
    contracts[id] = keepsWindows(row) ? kinds | KEEPS : kinds;
  }
  return contracts;
}
