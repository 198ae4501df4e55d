/**
 * Which program types may call what on older kernels, as numbers: how many of the helpers and kernel functions that a type may call in 6.18
 * each release lets it call. The numbers were counted in the sources of these releases (get_func_proto of each type,
 * register_btf_kfunc_id_set), by a program that knows nothing of the tables here.
 */
import { describe, expect, test } from "vitest";
import {
  HELPER_ACCESS_VERSIONS,
  KFUNC_ACCESS_VERSIONS,
  accessSince,
  hasSince,
  sinceOf,
} from "../../src/profiles/index.ts";
import {
  HELPER_ACCESS,
  type ProgramType,
  PROGRAM_TYPES,
  KFUNC_SETS,
  helperId,
  helperName,
} from "../../src/uapi/index.ts";

/** Helpers of a type in 6.18, whatever it attaches to. */
function helpersOf(type: ProgramType): Set<string> {
  const found = new Set<string>();
  for (const row of HELPER_ACCESS) {
    if (row.type !== type) continue;
    for (const part of row.helpers.split(" ")) {
      const [from = 0, to = from] = part.split("-").map(Number);
      for (let id = from; id <= to; id++) found.add(helperName(id) ?? "");
    }
  }
  return found;
}

/** Kernel functions of a type in 6.18, but for those of devices and of the kernel's own tests. */
function kfuncsOf(type: ProgramType): Set<string> {
  const found = new Set<string>();
  for (const { types, functions } of KFUNC_SETS) {
    if (types !== undefined && !types.includes(type)) continue;
    for (const name of functions)
      if (!/^bpf_(xdp_metadata_|modify_return|kfunc_call)/.test(name)) found.add(name);
  }
  return found;
}

function has(
  kernel: string,
  kind: "helper" | "kernel function",
  type: ProgramType,
  names: Iterable<string>,
): number {
  let count = 0;
  for (const name of names) {
    const since = sinceOf(kind, name)?.since ?? "99";
    const access = accessSince(kind, type, name)?.since ?? since;
    if (hasSince(kernel, since) && hasSince(kernel, access)) count++;
  }
  return count;
}

describe("helpers in 5.15, 6.1, 6.6, 6.12", () => {
  test.each([
    ["socket_filter", 48, 66, 70, 72],
    ["kprobe", 59, 78, 80, 80],
    ["sched_cls", 95, 118, 122, 124],
    ["sched_act", 95, 118, 122, 124],
    ["tracepoint", 59, 78, 80, 80],
    ["xdp", 58, 83, 87, 89],
    ["perf_event", 61, 80, 82, 82],
    ["cgroup_skb", 63, 81, 85, 87],
    ["cgroup_sock", 49, 67, 69, 71],
    ["lwt_in", 52, 70, 74, 76],
    ["lwt_out", 51, 69, 73, 75],
    ["lwt_xmit", 66, 84, 88, 90],
    ["sock_ops", 58, 76, 80, 82],
    ["sk_skb", 58, 76, 80, 82],
    ["cgroup_device", 41, 63, 65, 67],
    ["sk_msg", 59, 77, 79, 80],
    ["raw_tracepoint", 58, 77, 79, 80],
    ["cgroup_sock_addr", 62, 82, 84, 86],
    ["lwt_seg6local", 54, 72, 76, 78],
    ["sk_reuseport", 42, 58, 62, 64],
    ["flow_dissector", 44, 62, 66, 68],
    ["cgroup_sysctl", 48, 68, 70, 72],
    ["raw_tracepoint_writable", 58, 77, 79, 80],
    ["cgroup_sockopt", 47, 69, 71, 73],
    ["tracing", 73, 99, 101, 101],
    ["sk_lookup", 46, 64, 68, 70],
    ["syscall", 73, 96, 98, 98],
    ["netfilter", 0, 0, 57, 59],
    ["lsm", 74, 105, 107, 107],
    ["lirc_mode2", 14, 14, 14, 14],
  ] as const)("%s", (type, ...counts) => {
    const names = helpersOf(type);
    const kernels = ["5.15", "6.1", "6.6", "6.12"] as const;
    // A kernel that does not have the type has none of its helpers.
    const had = (kernel: string) => hasSince(kernel, sinceOf("program type", type)?.since ?? "");
    expect(kernels.map((kernel) => (had(kernel) ? has(kernel, "helper", type, names) : 0))).toEqual(counts);
  });
});

describe("kernel functions in 6.1, 6.6, 6.12", () => {
  test.each([
    ["socket_filter", 0, 16, 39],
    ["kprobe", 0, 15, 40],
    ["sched_cls", 11, 45, 75],
    ["sched_act", 0, 16, 41],
    ["tracepoint", 0, 15, 89],
    ["xdp", 11, 27, 76],
    ["perf_event", 0, 15, 89],
    ["cgroup_skb", 0, 16, 62],
    ["cgroup_sock", 0, 15, 62],
    ["lwt_in", 0, 16, 39],
    ["lwt_out", 0, 16, 39],
    ["lwt_xmit", 0, 16, 39],
    ["sock_ops", 0, 15, 38],
    ["sk_skb", 0, 16, 39],
    ["cgroup_device", 0, 15, 62],
    ["sk_msg", 0, 15, 38],
    ["raw_tracepoint", 0, 15, 38],
    ["cgroup_sock_addr", 0, 15, 62],
    ["lwt_seg6local", 0, 16, 39],
    ["lirc_mode2", 0, 15, 38],
    ["sk_reuseport", 0, 15, 38],
    ["flow_dissector", 0, 15, 38],
    ["cgroup_sysctl", 0, 15, 62],
    ["raw_tracepoint_writable", 0, 15, 38],
    ["cgroup_sockopt", 0, 15, 62],
    ["tracing", 3, 61, 90],
    ["struct_ops", 19, 76, 104],
    ["lsm", 3, 60, 94],
    ["sk_lookup", 0, 15, 38],
    ["syscall", 0, 15, 88],
    ["netfilter", 0, 16, 39],
  ] as const)("%s", (type, ...counts) => {
    const names = kfuncsOf(type);
    const had = (kernel: string) => hasSince(kernel, sinceOf("program type", type)?.since ?? "");
    const kernels = ["6.1", "6.6", "6.12"] as const;
    expect(kernels.map((kernel) => (had(kernel) ? has(kernel, "kernel function", type, names) : 0))).toEqual(
      counts,
    );
  });
});

test("rows name types, helpers and functions that exist", () => {
  const types = new Set<string>(PROGRAM_TYPES.map(({ name }) => name));
  for (const row of [...HELPER_ACCESS_VERSIONS, ...KFUNC_ACCESS_VERSIONS]) {
    expect(row.commit).toMatch(/^[0-9a-f]{12}$/);
    for (const type of row.types.split(" ")) expect(types.has(type), type).toBe(true);
  }
  for (const { names } of HELPER_ACCESS_VERSIONS)
    for (const name of names.split(" ")) expect(helperId(name), name).toBeDefined();
  for (const { names } of KFUNC_ACCESS_VERSIONS)
    for (const name of names.split(" "))
      expect(name === "*" || sinceOf("kernel function", name) !== undefined, name).toBe(true);
});
