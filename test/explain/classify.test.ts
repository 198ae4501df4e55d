/** Complaints of the kernel's verifier and their classes; random programs are explained without a fault. */
import { describe, expect, test } from "vitest";
import { complaintOf, explain } from "../../src/explain/index.ts";
import { randomProgram } from "../verifier/random-program.ts";

/** Last lines of logs of Linux 6.18 and older kernels. */
test.each([
  ["R0 invalid mem access 'map_value_or_null'", "null-check"],
  ["R1 type=sock_or_null expected=sock_common, sock, tcp_sock", "null-check"],
  ["Possibly NULL pointer passed to trusted arg0", "null-check"],
  [
    "invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)\nR1 offset is outside of the packet",
    "packet-bounds",
  ],
  ["invalid bpf_context access off=32 size=4", "invalid-context"],
  ["dereference of modified ctx ptr R1 off=12 disallowed", "invalid-context"],
  [
    "invalid access to map value, value_size=64 off=64 size=8\nR0 min value is outside of the allowed memory range",
    "missing-range",
  ],
  ["R2 unbounded memory access, use 'var &= const' or 'if (var < const)'", "missing-range"],
  ["math between map_value pointer and register with unbounded min value is not allowed", "missing-range"],
  ["math between fp pointer and register with unbounded min value is not allowed", "stack"],
  ["R6 32-bit pointer arithmetic prohibited", "lost-provenance"],
  ["R1 bitwise operator &= on pointer prohibited", "lost-provenance"],
  ["R2 pointer += pointer prohibited", "invalid-pointer"],
  ["R2 pointer arithmetic on pkt_end prohibited", "invalid-pointer"],
  ["R0 invalid mem access 'scalar'", "invalid-pointer"],
  ["R0 invalid mem access 'inv'", "invalid-pointer"],
  ["bpf_spin_lock cannot be accessed directly by load/store", "invalid-pointer"],
  ["invalid write to stack R10 off=-520 size=8", "stack"],
  ["combined stack size of 2 calls is 608. Too large", "stack"],
  ["invalid indirect read from stack R2 off -8+4 size 8", "uninitialised"],
  ["invalid read from stack R2 off -16+4 size 16", "uninitialised"],
  ["R8 !read_ok", "uninitialised"],
  ["misaligned stack access off (0x0; 0x0)+0+-12 size 8", "misaligned"],
  ["At program exit the register R0 has value (0x7; 0x0) should have been in (0x0; 0x1)", "return-value"],
  ["At program exit the register R0 has smin=7 smax=7 should have been in [0, 1]", "return-value"],
  [
    "Unreleased reference id=2 alloc_insn=12\nBPF_EXIT instruction in main prog would lead to reference leak",
    "leaked-reference",
  ],
  ["R1 must be referenced when passed to release function", "use-after-release"],
  ["infinite loop detected at insn 2\ncur state: R0=0\nold state: R0=0", "too-complex"],
  ["BPF program is too large. Processed 1000001 insn", "too-complex"],
  ["The sequence of 8193 jumps is too complex.", "too-complex"],
  ["unknown func bpf_skb_load_bytes#26", "call-not-allowed"],
  ["program of this type cannot use helper bpf_redirect#23", "call-not-allowed"],
  ["calling kernel function bpf_task_acquire is not allowed", "call-not-allowed"],
  ["cannot call GPL-restricted function from non-GPL compatible program", "call-not-allowed"],
  ["cannot pass map_type 3 into func bpf_map_lookup_elem#1", "type-mismatch"],
  [
    "R2 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
    "type-mismatch",
  ],
  ["tracing progs cannot use bpf_spin_lock yet", "type-mismatch"],
  ["write into map forbidden, value_size=4 off=0 size=4", "read-only"],
  ["cannot write into packet", "read-only"],
  ["R1 must be referenced or trusted", "untrusted-pointer"],
  ["access beyond struct task_struct at off 20000 size 8", "untrusted-pointer"],
  ["Expected an initialized dynptr as arg #2", "object-state"],
  ["cannot overwrite referenced dynptr", "object-state"],
  ["expected an initialized iter_num as arg #0", "object-state"],
  ["function calls are not allowed while holding a lock", "context-region"],
  ["bpf_spin_lock at off=16 must be held for bpf_list_head", "context-region"],
  ["expected an RCU CS when using bpf_iter_task_next", "context-region"],
  ["unreachable insn 7", "malformed"],
  ["unknown opcode 8f", "malformed"],
] as const)("%s", (text, expected) => {
  const log = `0: (b7) r0 = 0\n; return 0; @ p.c:3\n1: R0=0 R1=ctx()\n${text}\nprocessed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n`;
  expect(complaintOf(log).rule?.class).toBe(expected);
});

test("the register and the numbers of the complaint are found", () => {
  const { groups, message } = complaintOf(
    "3: (71) r2 = *(u8 *)(r1 +64)\ninvalid access to map value, value_size=64 off=64 size=8\nR3 min value is outside of the allowed memory range\n",
  );
  expect(message).toBe("R3 min value is outside of the allowed memory range");
  expect(groups).toMatchObject({ reg: "3", limit: "64", at: "64", size: "8" });
});

describe("random programs", () => {
  test("are explained, whatever they do", () => {
    let explained = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const found = explain({
        name: "random",
        type: "socket_filter",
        instructions: randomProgram(seed),
        maps: new Map(),
        license: "GPL",
      });
      if (found === undefined) continue;
      explained++;
      expect(found.cause, `seed ${seed}`).not.toMatch(/undefined|NaN/);
      expect(found.class, `seed ${seed}: ${found.message}`).not.toBe("other");
    }
    expect(explained).toBeGreaterThan(5);
  });
});
