/** Exports of core.wasm. */
export { exec, exec_of, fault, fuel, init } from "./state";
export { alloc, free } from "./allocator";
export { begin } from "./interpreter/frames";
export { interpret, interpret_slice } from "./interpreter/run";
export { use_core_helpers } from "./interpreter/calls";
export { ld_abs } from "./interpreter/packet";
export { run_calls, run_jit } from "./batch/compiled";
export { run_batch } from "./batch/run";
export { for_each_map_elem, loop, tail_call } from "./helpers/callbacks";
export { map_create, map_free } from "./maps/create";
export { map_delete_elem, map_lookup_elem, map_update_elem } from "./maps/program";
export { prog_array_claim } from "./maps/programs";
export {
  map_delete,
  map_get_next_key,
  map_lookup_copy,
  map_lookup_percpu,
  map_update_copy,
} from "./maps/syscall";
export { get_prandom_u32, get_smp_processor_id } from "./helpers/cpu";
export { csum_diff } from "./helpers/checksum";
export { redirect } from "./helpers/redirect";
export { skb_load_bytes } from "./helpers/skb";
export { xdp_adjust_head, xdp_adjust_meta, xdp_adjust_tail } from "./helpers/xdp";
