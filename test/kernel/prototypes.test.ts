import { describe, expect, it } from "vitest";
import { Handle, Kernel, attemptLoad } from "../../src/kernel/index.ts";
import { HELPERS, PROGRAM_TYPES, allowedHelpers, prototypeOf } from "../../src/uapi/index.ts";
import type { HelperContext } from "../../src/uapi/index.ts";
import { insn, noKernel, withKernel } from "./setup.ts";

/** What the verifier says it would have taken when it gets a number (compatible_reg_types of kernel/bpf/verifier.c). */
const EXPECTED: Readonly<Record<string, string>> = {
  const_map_ptr: "map_ptr",
  ptr_to_map_key: "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf",
  ptr_to_mem: "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
  ptr_to_ctx: "ctx",
  ptr_to_btf_id: "ptr_, trusted_ptr_, rcu_ptr_",
  ptr_to_btf_id_sock_common: "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_",
  ptr_to_sock_common: "sock_common, sock, tcp_sock, xdp_sock",
  ptr_to_percpu_btf_id: "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_",
  ptr_to_ringbuf_mem: "ringbuf_mem",
  ptr_to_timer: "map_value",
  ptr_to_spin_lock: "map_value, ptr_",
  kptr_xchg_dest: "map_value, ptr_",
  ptr_to_dynptr: "fp, dynptr_ptr",
  ptr_to_stack: "fp",
  ptr_to_func: "func",
  ptr_to_const_str: "map_value",
};

/** A context of the test for each program type that this kernel loads without a target. */
const CONTEXTS: readonly HelperContext[] = PROGRAM_TYPES.flatMap(({ name }): HelperContext[] => {
  switch (name) {
    case "ext":
    case "lsm":
    case "tracing":
    case "struct_ops":
    case "lirc_mode2":
      return [];
    case "cgroup_sockopt":
      return [{ type: name, attachType: "cgroup_setsockopt" }];
    case "cgroup_sock_addr":
      return [{ type: name, attachType: "cgroup_inet4_connect" }];
    case "sk_lookup":
    case "netfilter":
      return [{ type: name, attachType: name }];
    case "syscall":
      return [{ type: name, sleepable: true }];
    default:
      return [{ type: name }];
  }
});

describe.skipIf(noKernel !== undefined)(withKernel("helper prototypes against the kernel"), () => {
  it.each(CONTEXTS.map((context) => [context.type, context] as const))("%s", async (_, context) => {
    using kernel = await Kernel.open();
    const allowed = allowedHelpers(context);
    const wrong: string[] = [];
    for (const { id, name } of HELPERS) {
      const { result, log } = attemptLoad(
        kernel,
        {
          type: context.type,
          ...(context.attachType === undefined ? {} : { expectedAttachType: context.attachType }),
          ...(context.sleepable === true ? { flags: 16 } : {}),
          instructions: [
            ...[1, 2, 3, 4, 5].map((dst) => insn(0xb7, dst, 0, 0, 1)),
            insn(0x85, 0, 0, 0, id),
            insn(0xb7),
            insn(0x95),
          ],
        },
        1,
      );
      if (result >= 0) new Handle(kernel, result).close();
      // The complaint stands on the line after the call.
      const said = log.split(`call bpf_${name}#${id}`)[1]?.split("\n")[1] ?? "";
      const complain = (wanted: string): unknown => wrong.push(`${name}: "${said}", not "${wanted}"`);
      const refused = /program of this type cannot use helper|unknown func/.test(said);
      if (refused === allowed.has(id)) complain(refused ? "allowed" : "refused");
      if (!allowed.has(id) || /not allowed in probe|cannot call GPL|might sleep/.test(said)) continue;
      const prototype = prototypeOf(id, context);
      const args = prototype?.args ?? ["no prototype"];
      const at = args.findIndex((arg) => /^(const_map|ptr|kptr|no)/.test(arg));
      const base = (args[at] ?? "").split(" ")[0] ?? "";
      const wanted = at < 0 ? "" : `R${at + 1} type=scalar expected=${EXPECTED[base]}`;
      if (at < 0 ? said.includes("expected=") : said !== wanted) complain(wanted);
    }
    expect(wrong).toEqual([]);
  });
});
