/**
 * LSM hooks: which exist for programs, which may sleep, who may change socket options there (kernel/bpf/bpf_lsm.c). Names are those of the hooks,
 * without "bpf_lsm_".
 */
import { resolve } from "../../btf/index.ts";
import type { Environment } from "../environment.ts";
import { targetOf } from "./target.ts";

/** Hooks whose answer is no plain yes or no (bpf_lsm_disabled_hooks). */
const DISABLED: ReadonlySet<string> = new Set([
  "vm_enough_memory",
  "inode_need_killpriv",
  "inode_getsecurity",
  "inode_listsecurity",
  "inode_copy_up_xattr",
  "getselfattr",
  "getprocattr",
  "setprocattr",
  "key_getsecurity",
  "audit_rule_match",
  "xfrm_decode_session",
  "ismaclabel",
]);

/** Functions of these names that are no hooks. */
const NO_HOOKS: ReadonlySet<string> = new Set([
  "verify_prog",
  "find_cgroup_shim",
  "is_sleepable_hook",
  "is_trusted",
  "get_retval_range",
]);

/** sleepable_lsm_hooks. */
const SLEEPABLE: ReadonlySet<string> = new Set(
  (
    "bpf bpf_map bpf_map_create bpf_map_free bpf_prog bpf_prog_load bpf_token_create bpf_token_free bpf_token_cmd bpf_token_capable " +
    "bprm_check_security bprm_committed_creds bprm_committing_creds bprm_creds_for_exec bprm_creds_from_file capget capset " +
    "cred_prepare file_ioctl file_lock file_open file_post_open file_receive inode_create inode_free_security inode_getattr " +
    "inode_getxattr inode_mknod inode_need_killpriv inode_post_setxattr inode_readlink inode_rename inode_rmdir inode_setattr " +
    "inode_setxattr inode_symlink inode_unlink kernel_module_request kernel_read_file kernfs_init_security path_unlink path_mkdir " +
    "path_rmdir path_truncate path_symlink path_link path_rename path_chmod path_chown mmap_file netlink_send path_notify " +
    "release_secctx sb_alloc_security sb_eat_lsm_opts sb_kern_mount sb_mount sb_remount sb_set_mnt_opts sb_show_options sb_statfs " +
    "sb_umount settime socket_accept socket_bind socket_connect socket_create socket_getpeername socket_getpeersec_dgram " +
    "socket_getsockname socket_getsockopt socket_listen socket_post_create socket_recvmsg socket_sendmsg socket_shutdown " +
    "socket_socketpair syslog task_alloc current_getsecid_subj task_getsecid_obj task_prctl task_setscheduler userns_create"
  ).split(" "),
);

/** Hooks with a socket that is locked, or that nobody else knows yet (bpf_lsm_locked_sockopt_hooks, ..unlocked..). */
const SOCKET_OPTIONS: ReadonlySet<string> = new Set([
  "sock_graft",
  "inet_csk_clone",
  "inet_conn_established",
  "socket_post_create",
  "socket_socketpair",
]);

function hookOf(env: Environment): string {
  return env.program.attachTo ?? "";
}

export function isSleepableHook(env: Environment): boolean {
  return SLEEPABLE.has(hookOf(env));
}

/** Whether helpers may change options of the socket: programs of control groups at hooks where it is held. */
export function mayChangeSocket(env: Environment): boolean {
  return env.program.attachType === "lsm_cgroup" && SOCKET_OPTIONS.has(hookOf(env));
}

/** Whether the hook answers nothing. */
export function isVoidHook(env: Environment): boolean {
  const { btf, prototype } = targetOf(env);
  return resolve(btf, prototype.type).kind === "void";
}

/** Whether a program like this may attach to the hook (bpf_check_attach_target, bpf_lsm_verify_prog). */
export function checkHook(env: Environment): void {
  const hook = hookOf(env);
  // Without the kernel's types it is not known whether there is such a hook.
  const { btf, name } = targetOf(env);
  if (env.program.sleepable === true && !SLEEPABLE.has(hook)) {
    throw env.reject("EINVAL", `${name} is not sleepable`);
  }
  if (!env.gplCompatible) throw env.reject("EINVAL", "LSM programs must have a GPL compatible license");
  const id = btf.find(name, "func")[0]?.id ?? 0;
  if (DISABLED.has(hook)) {
    throw env.reject("EINVAL", `attach_btf_id ${id} points to disabled hook ${name}`);
  }
  if (NO_HOOKS.has(hook)) {
    throw env.reject("EINVAL", `attach_btf_id ${id} points to wrong type name ${name}`);
  }
}
