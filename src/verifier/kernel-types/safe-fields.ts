/**
 * Fields whose pointers the verifier trusts although nothing in BTF says so (BTF_TYPE_SAFE_TRUSTED, BTF_TYPE_SAFE_RCU and their
 * "or null" kin of kernel/bpf/verifier.c, Linux 6.18), by structure.
 */

/** How a field's pointer may be relied on. */
export type Safety = "trusted" | "trusted_or_null" | "rcu" | "rcu_or_null";

const FIELDS: Readonly<Record<Safety, Readonly<Record<string, readonly string[]>>>> = {
  trusted: {
    bpf_iter_meta: ["seq"],
    bpf_iter__task: ["meta", "task"],
    linux_binprm: ["file"],
    file: ["f_inode"],
  },
  trusted_or_null: { dentry: ["d_inode"], socket: ["sk"] },
  rcu: {
    task_struct: ["cpus_ptr", "cgroups", "real_parent", "group_leader"],
    cgroup: ["kn"],
    css_set: ["dfl_cgrp"],
    cgroup_subsys_state: ["cgroup"],
  },
  rcu_or_null: { mm_struct: ["exe_file"], sk_buff: ["sk"], request_sock: ["sk"] },
};

export function isSafeField(safety: Safety, struct: string, field: string): boolean {
  const fields = FIELDS[safety];
  return Object.hasOwn(fields, struct) && fields[struct]?.includes(field) === true;
}
