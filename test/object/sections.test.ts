import { describe, expect, it } from "vitest";
import { matchSection, SECTION_RULES } from "../../src/object/index.ts";
import { ATTACH_TYPES, PROGRAM_TYPES } from "../../src/uapi/index.ts";

/** What libbpf's documentation and its libbpf_prog_type_by_name() answer; `exact: false` is the older, lenient reading. */
const CASES: readonly (readonly [
  section: string,
  type: string | undefined,
  attach?: string | undefined,
  target?: string | undefined,
  exact?: boolean,
])[] = [
  ["socket", "socket_filter"],
  ["socket/3", "socket_filter", undefined, undefined, false],
  ["xdp", "xdp", "xdp"],
  ["xdp_prog", "xdp", "xdp", undefined, false],
  ["xdp/devmap", "xdp", "xdp_devmap"],
  ["xdp.frags/cpumap", "xdp", "xdp_cpumap"],
  ["xdp.frags", "xdp", "xdp"],
  ["kprobe", "kprobe"],
  ["kprobe/", "kprobe"],
  ["kprobe/do_unlinkat+0x10", "kprobe", undefined, "do_unlinkat+0x10"],
  ["kprobes/x", undefined],
  ["kprobe.multi/tcp_*", "kprobe", "trace_kprobe_multi", "tcp_*"],
  ["kprobe.session/x", "kprobe", "trace_kprobe_session", "x"],
  ["uprobe//bin/bash:readline", "kprobe", undefined, "/bin/bash:readline"],
  ["uretprobe.s/x:y", "kprobe", undefined, "x:y"],
  ["usdt.s/libc:a:b", "kprobe", undefined, "libc:a:b"],
  ["tracepoint/syscalls/sys_enter_openat", "tracepoint", undefined, "syscalls/sys_enter_openat"],
  ["tp.s/x/y", "tracepoint", undefined, "x/y"],
  ["raw_tp/x", "raw_tracepoint", undefined, "x"],
  ["raw_tracepoint.w/x", "raw_tracepoint_writable", undefined, "x"],
  ["tp_btf/sched_switch", "tracing", "trace_raw_tp", "sched_switch"],
  ["fentry", "tracing", "trace_fentry"],
  ["fexit.s/x", "tracing", "trace_fexit", "x"],
  ["fmod_ret/x", "tracing", "modify_return", "x"],
  ["freplace/x", "ext", undefined, "x"],
  ["lsm.s/x", "lsm", "lsm_mac", "x"],
  ["lsm_cgroup/x", "lsm", "lsm_cgroup", "x"],
  ["iter.s/task", "tracing", "trace_iter", "task"],
  ["syscall", "syscall"],
  ["tc", "sched_cls"],
  ["tc/ingress", "sched_cls", "tcx_ingress"],
  ["tcx/egress", "sched_cls", "tcx_egress"],
  ["classifier/x", "sched_cls", undefined, undefined, false],
  ["action", "sched_act"],
  ["netkit/primary", "sched_cls", "netkit_primary"],
  ["sk_reuseport", "sk_reuseport", "sk_reuseport_select"],
  ["sk_reuseport/migrate", "sk_reuseport", "sk_reuseport_select_or_migrate"],
  ["sk_skb/verdict", "sk_skb", "sk_skb_verdict"],
  ["sk_skb", "sk_skb"],
  ["cgroup/sock", "cgroup_sock", "cgroup_inet_sock_create"],
  ["cgroup/sock_release", "cgroup_sock", "cgroup_inet_sock_release"],
  ["cgroup/connect_unix", "cgroup_sock_addr", "cgroup_unix_connect"],
  ["cgroup/skb", "cgroup_skb"],
  ["cgroup_skb/egress", "cgroup_skb", "cgroup_inet_egress"],
  ["cgroup/dev", "cgroup_device", "cgroup_device"],
  ["struct_ops/whatever", "struct_ops"],
  ["struct_ops.s", "struct_ops"],
  ["sk_lookup/", "sk_lookup", "sk_lookup", undefined, false],
  ["netfilter", "netfilter", "netfilter"],
  ["", undefined],
  [".text", undefined],
  ["license", undefined],
  ["Xdp", undefined],
];

describe("section names", () => {
  it.each(CASES)("'%s' is %s", (...row) => {
    const [section, type, attach, target, exact = true] = row as unknown as (typeof CASES)[number];
    const match = matchSection(section);
    expect(
      match && { type: match.rule.type, attach: match.rule.attach, target: match.target, exact: match.exact },
    ).toEqual(type === undefined ? undefined : { type, attach, target, exact });
  });

  it.each([
    ["uprobe.multi.s/x", "sleepable"],
    ["syscall", "sleepable"],
    ["lsm.s", "sleepable"],
    ["xdp.frags/devmap", "frags"],
    ["fentry/x", "btf"],
    ["usdt/x", "usdt"],
  ] as const)("'%s' is %s", (section, flag) => {
    expect(matchSection(section)?.rule[flag]).toBe(true);
  });

  it("are all of libbpf's, each once, and each finds its own row", () => {
    expect(SECTION_RULES).toHaveLength(116);
    expect(new Set(SECTION_RULES.map(({ pattern }) => pattern)).size).toBe(116);
    for (const rule of SECTION_RULES) {
      expect(matchSection(rule.pattern.replace(/\+$/, ""))?.rule).toBe(rule);
      if (rule.pattern.endsWith("+")) expect(matchSection(rule.pattern.replace("+", "/x"))?.rule).toBe(rule);
    }
  });

  it("use the names of the uapi tables, but for attach types after Linux 6.18", () => {
    const types = new Set<string>(PROGRAM_TYPES.map(({ name }) => name));
    const attaches = new Set<string>(ATTACH_TYPES.map(({ name }) => name));
    const later = new Set<string>();
    for (const { type, attach } of SECTION_RULES) {
      expect(types).toContain(type);
      if (attach !== undefined && !attaches.has(attach)) later.add(attach);
    }
    expect([...later].sort()).toEqual([
      "trace_fentry_multi",
      "trace_fexit_multi",
      "trace_fsession",
      "trace_fsession_multi",
    ]);
  });
});
