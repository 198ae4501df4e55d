/**
 * The helpers that core.wasm implements itself, so that compiled programs call them wasm to wasm (3.8 ns against
 * 8.7 ns and more through JavaScript). Every other helper is TypeScript and finds its arguments in the execution
 * state (see layout.ts, EXEC_REGS).
 *
 * Arguments: "ptr" and "u32" are passed as wasm i32 (the register's low half), "u64" as i64. Results: "ptr" and
 * "u32" are i32, zero-extended into r0; "int" is i32, sign-extended; "u64" is i64.
 */
export interface CoreHelper {
  readonly name: string;
  readonly args: readonly ("ptr" | "u32" | "u64")[];
  readonly result: "ptr" | "u32" | "int" | "u64";
  /**
   * It calls functions of the program or goes to another one, and takes two i32 more: the end of its caller's frame and
   * the address of the instruction that calls it.
   */
  readonly calls?: "back" | "tail";
}

/** Exports of core.wasm, named as the helpers are in uapi/linux/bpf.h without `bpf_`. */
export const CORE_HELPERS = [
  { name: "map_lookup_elem", args: ["ptr", "ptr"], result: "ptr" },
  { name: "map_update_elem", args: ["ptr", "ptr", "ptr", "u64"], result: "int" },
  { name: "map_delete_elem", args: ["ptr", "ptr"], result: "int" },
  { name: "get_prandom_u32", args: [], result: "u32" },
  { name: "get_smp_processor_id", args: [], result: "u32" },
  { name: "xdp_adjust_head", args: ["ptr", "u32"], result: "int" },
  { name: "xdp_adjust_tail", args: ["ptr", "u32"], result: "int" },
  { name: "xdp_adjust_meta", args: ["ptr", "u32"], result: "int" },
  { name: "skb_load_bytes", args: ["ptr", "u32", "ptr", "u32"], result: "int" },
  { name: "xdp_get_buff_len", args: ["ptr"], result: "u64" },
  { name: "xdp_load_bytes", args: ["ptr", "u32", "ptr", "u32"], result: "int" },
  { name: "xdp_store_bytes", args: ["ptr", "u32", "ptr", "u32"], result: "int" },
  { name: "skb_load_bytes_relative", args: ["ptr", "u32", "ptr", "u32", "u32"], result: "int" },
  { name: "skb_store_bytes", args: ["ptr", "u32", "ptr", "u32", "u64"], result: "int" },
  { name: "skb_pull_data", args: ["ptr", "u32"], result: "int" },
  { name: "skb_change_type", args: ["ptr", "u32"], result: "int" },
  { name: "skb_change_head", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "skb_change_tail", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "skb_change_proto", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "skb_adjust_room", args: ["ptr", "u32", "u32", "u64"], result: "int" },
  { name: "skb_vlan_push", args: ["ptr", "u32", "u32"], result: "int" },
  { name: "skb_vlan_pop", args: ["ptr"], result: "int" },
  { name: "set_hash", args: ["ptr", "u32"], result: "int" },
  { name: "set_hash_invalid", args: ["ptr"], result: "int" },
  { name: "l3_csum_replace", args: ["ptr", "u32", "u64", "u64", "u64"], result: "int" },
  { name: "l4_csum_replace", args: ["ptr", "u32", "u64", "u64", "u64"], result: "int" },
  { name: "csum_update", args: ["ptr", "u32"], result: "u64" },
  { name: "csum_level", args: ["ptr", "u64"], result: "u64" },
  { name: "redirect_peer", args: ["u32", "u64"], result: "int" },
  { name: "redirect_neigh", args: ["u32", "ptr", "u32", "u64"], result: "int" },
  { name: "probe_read", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "probe_read_kernel", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "probe_read_user", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "probe_read_str", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "probe_read_kernel_str", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "probe_read_user_str", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "copy_from_user", args: ["ptr", "u32", "u64"], result: "int" },
  { name: "probe_write_user", args: ["u64", "ptr", "u32"], result: "int" },
  { name: "csum_diff", args: ["ptr", "u32", "ptr", "u32", "u32"], result: "u64" },
  { name: "redirect", args: ["u32", "u64"], result: "int" },
  { name: "map_push_elem", args: ["ptr", "ptr", "u64"], result: "int" },
  { name: "map_pop_elem", args: ["ptr", "ptr"], result: "int" },
  { name: "map_peek_elem", args: ["ptr", "ptr"], result: "int" },
  { name: "map_lookup_percpu_elem", args: ["ptr", "ptr", "u32"], result: "ptr" },
  { name: "spin_lock", args: ["ptr"], result: "u32" },
  { name: "spin_unlock", args: ["ptr"], result: "u32" },
  { name: "ringbuf_reserve", args: ["ptr", "u64", "u64"], result: "ptr" },
  { name: "ringbuf_submit", args: ["ptr", "u64"], result: "u32" },
  { name: "ringbuf_discard", args: ["ptr", "u64"], result: "u32" },
  { name: "ringbuf_output", args: ["ptr", "ptr", "u64", "u64"], result: "int" },
  { name: "ringbuf_query", args: ["ptr", "u64"], result: "u64" },
  { name: "perf_event_output", args: ["ptr", "ptr", "u64", "ptr", "u64"], result: "int" },
  { name: "redirect_map", args: ["ptr", "u64", "u64"], result: "int" },
  { name: "sk_storage_get", args: ["ptr", "ptr", "ptr", "u64"], result: "ptr" },
  { name: "sk_storage_delete", args: ["ptr", "ptr"], result: "int" },
  { name: "inode_storage_get", args: ["ptr", "ptr", "ptr", "u64"], result: "ptr" },
  { name: "inode_storage_delete", args: ["ptr", "ptr"], result: "int" },
  { name: "task_storage_get", args: ["ptr", "ptr", "ptr", "u64"], result: "ptr" },
  { name: "task_storage_delete", args: ["ptr", "ptr"], result: "int" },
  { name: "cgrp_storage_get", args: ["ptr", "ptr", "ptr", "u64"], result: "ptr" },
  { name: "cgrp_storage_delete", args: ["ptr", "ptr"], result: "int" },
  { name: "get_local_storage", args: ["ptr", "u64"], result: "ptr" },
  // Where it succeeds, the index in the function table that compiled code goes to with the caller's frame.
  { name: "tail_call", args: ["u64", "ptr", "u32"], result: "int", calls: "tail" },
  { name: "loop", args: ["u32", "u64", "u64", "u64"], result: "int", calls: "back" },
  { name: "for_each_map_elem", args: ["ptr", "u64", "u64", "u64"], result: "u64", calls: "back" },
] as const satisfies readonly CoreHelper[];
