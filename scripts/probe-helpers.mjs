// Asks the running kernel which helper each program type may call, and prints src/uapi/helper-access.ts. For each
// program type, attach type and sleepability one tiny program a helper is loaded (never attached, never run): the call
// and nothing else. The verifier looks the helper up before it looks at the arguments, so its complaint tells.
//
//     npm run build && sudo node scripts/probe-helpers.mjs > src/uapi/helper-access.ts && npm run format
import { parseBtf } from "../dist/btf/index.js";
import { Handle, Kernel, attemptLoad } from "../dist/kernel/index.js";
import { HELPERS } from "../dist/uapi/index.js";
import { readFileSync } from "node:fs";

const vmlinux = parseBtf(readFileSync("/sys/kernel/btf/vmlinux"), { name: "vmlinux" });
const typeId = (name, kind) => vmlinux.find(name, kind)[0]?.id;

/** Program type, attach types that may matter, whether to ask for sleepable programs too, what BTF attachment needs. */
const CONTEXTS = [
  ["socket_filter"],
  [
    "kprobe",
    [undefined, "trace_kprobe_multi", "trace_kprobe_session", "trace_uprobe_multi", "trace_uprobe_session"],
    true,
  ],
  ["sched_cls", [undefined, "tcx_ingress", "tcx_egress", "netkit_primary", "netkit_peer"]],
  ["sched_act"],
  ["tracepoint"],
  ["xdp", [undefined, "xdp", "xdp_devmap", "xdp_cpumap"]],
  ["perf_event"],
  ["cgroup_skb", ["cgroup_inet_ingress", "cgroup_inet_egress"]],
  [
    "cgroup_sock",
    [
      "cgroup_inet_sock_create",
      "cgroup_inet_sock_release",
      "cgroup_inet4_post_bind",
      "cgroup_inet6_post_bind",
    ],
  ],
  ["lwt_in"],
  ["lwt_out"],
  ["lwt_xmit"],
  ["sock_ops", [undefined, "cgroup_sock_ops"]],
  ["sk_skb", [undefined, "sk_skb_stream_parser", "sk_skb_stream_verdict", "sk_skb_verdict"]],
  ["cgroup_device", [undefined, "cgroup_device"]],
  ["sk_msg", ["sk_msg_verdict"]],
  ["raw_tracepoint"],
  [
    "cgroup_sock_addr",
    ["bind", "connect", "getpeername", "getsockname"]
      .flatMap((what) => [`cgroup_inet4_${what}`, `cgroup_inet6_${what}`])
      .concat(["cgroup_udp4_sendmsg", "cgroup_udp6_sendmsg", "cgroup_udp4_recvmsg", "cgroup_udp6_recvmsg"])
      .concat(
        ["connect", "sendmsg", "recvmsg", "getpeername", "getsockname"].map((what) => `cgroup_unix_${what}`),
      ),
  ],
  ["lwt_seg6local"],
  ["lirc_mode2", ["lirc_mode2"]],
  ["sk_reuseport", [undefined, "sk_reuseport_select", "sk_reuseport_select_or_migrate"]],
  ["flow_dissector", ["flow_dissector"]],
  ["cgroup_sysctl", [undefined, "cgroup_sysctl"]],
  ["raw_tracepoint_writable"],
  ["cgroup_sockopt", ["cgroup_getsockopt", "cgroup_setsockopt"]],
  ["tracing", ["trace_raw_tp"], false, ["btf_trace_sched_switch", "typedef"]],
  ["tracing", ["trace_fentry", "trace_fexit"], false, ["bpf_fentry_test1", "func"]],
  ["tracing", ["trace_iter"], true, ["bpf_iter_task", "func"]],
  ["lsm", ["lsm_mac"], false, ["bpf_lsm_file_open", "func"]],
  ["lsm", ["lsm_cgroup"], false, ["bpf_lsm_socket_bind", "func"]],
  ["struct_ops", ["cgroup_inet_ingress"], true, ["tcp_congestion_ops", "struct"]],
  ["sk_lookup", ["sk_lookup"]],
  ["syscall", [undefined], "only"],
  ["netfilter", ["netfilter"]],
];
const SLEEPABLE = 16;
const CALL = 0x85;
const MOV = 0xb7;
const EXIT = 0x95;
const slot = (opcode, dst = 0, imm = 0) => ({ opcode, dst, src: 0, offset: 0, imm });
/** "helper call is not allowed in probe" depends on the function that a program attaches to, so it is no refusal of the type. */
const REFUSED = /program of this type cannot use helper|unknown func/;

/**
 * What a kernel without that option, or a machine where a program may not attach to kernel functions, cannot be asked: the
 * row of another context and what comes to it (tracing_prog_func_proto, bpf_lsm_func_proto, lirc_mode2_func_proto).
 */
const DERIVED = [
  { type: "tracing", attach: "trace_fentry", from: "trace_raw_tp", add: [183, 185] },
  { type: "tracing", attach: "trace_fexit", from: "trace_raw_tp", add: [183, 184, 185] },
  { type: "tracing", attach: "modify_return", from: "trace_raw_tp", add: [183, 184, 185] },
  { type: "lsm", attach: "lsm_mac", from: "trace_raw_tp", add: [145, 146, 159, 161, 183, 185, 193] },
  {
    type: "lsm",
    attach: "lsm_cgroup",
    from: "trace_raw_tp",
    add: [49, 57, 81, 145, 146, 159, 161, 186, 187, 193],
    less: [174],
  },
  { type: "lirc_mode2", add: [1, 2, 3, 5, 6, 7, 12, 77, 78, 87, 88, 89, 92, 125] },
];

const kernel = await Kernel.open();

/** The ids that the kernel lets such a program call, or a complaint about the program itself. */
function ask(definition) {
  const allowed = [];
  for (const { id, name } of HELPERS) {
    const instructions = [slot(CALL, 0, id), slot(MOV, 0, 0), slot(EXIT)];
    const { result, log } = attemptLoad(kernel, { ...definition, instructions }, 1);
    if (result >= 0) new Handle(kernel, result).close();
    else if (!log.includes(`call bpf_${name}#${id}`))
      return log.trim().split("\n").at(-1) || `errno ${-result}`;
    if (!REFUSED.test(log)) allowed.push(id);
  }
  return allowed;
}

/** 1,2,3,7 as "1-3 7". */
function ranges(ids) {
  const parts = [];
  for (const id of ids) {
    const last = parts.at(-1);
    if (last !== undefined && last[1] === id - 1) last[1] = id;
    else parts.push([id, id]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(" ");
}

const rows = [];
for (const [type, attaches = [undefined], sleepable = false, target] of CONTEXTS) {
  for (const attach of attaches) {
    for (const flags of sleepable === "only" ? [SLEEPABLE] : sleepable ? [0, SLEEPABLE] : [0]) {
      const allowed = ask({
        type,
        flags,
        ...(attach === undefined ? {} : { expectedAttachType: attach }),
        ...(target === undefined ? {} : { attachBtfId: typeId(...target) }),
      });
      const what = [type, attach, flags ? "sleepable" : undefined].filter(Boolean).join(" ");
      if (typeof allowed === "string") {
        console.error(`${what}: ${allowed}`);
        continue;
      }
      console.error(`${what}: ${allowed.length} helpers`);
      rows.push({ type, attach, sleepable: flags !== 0, list: allowed, ids: ranges(allowed) });
    }
  }
}
kernel.close();
for (const { type, attach, from, add, less = [] } of DERIVED) {
  if (rows.some((row) => row.type === type && row.attach === attach)) continue;
  const base = rows.find((row) => row.type === "tracing" && row.attach === from)?.list ?? [];
  const list = [...new Set([...base, ...add])].filter((id) => !less.includes(id)).sort((a, b) => a - b);
  rows.push({ type, attach, sleepable: false, list, ids: ranges(list) });
}

// Attach types that make no difference share a row; so do sleepable programs and others, which has never made one.
const merged = [];
for (const row of rows) {
  const same = merged.find((other) => other.type === row.type && other.ids === row.ids);
  if (same === undefined) merged.push({ ...row, attaches: new Set([row.attach]) });
  else same.attaches.add(row.attach);
}
const lines = merged.map(({ type, attaches, ids }) => {
  const whole = merged.filter((row) => row.type === type).length === 1;
  const names = [...attaches].filter(Boolean).map((name) => JSON.stringify(name));
  return `  { type: "${type}", ${whole ? "" : `attach: [${names.join(", ")}], `}helpers: "${ids}" },`;
});
console.log(`/**
 * Which helpers each program type may call, as Linux ${process.env.KERNEL ?? "6.18"} answers (scripts/probe-helpers.mjs): ids of \`helpers.ts\` in ranges.
 * A row without \`attach\` is for every attach type.
 */
export const HELPER_ACCESS = [
${lines.join("\n")}
] as const;`);
