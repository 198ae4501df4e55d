/** Exports of core.wasm. */
export { exec, exec_of, fault, fuel, init, join } from "./state";
export { alloc, free } from "./allocator";
export { begin } from "./interpreter/frames";
export { interpret_slice, sandbox_slice } from "./interpreter/run";
export { interpret } from "./interpreter/slices";
export { replace_helper, use_core_helpers } from "./interpreter/calls";
export { ld_abs } from "./interpreter/packet";
export { run_calls, run_jit } from "./batch/compiled";
export { packetEnd as packet_end, packetStart as packet_start } from "./batch/bounds";
export { batch_begin, batch_end, run_batch } from "./batch/run";
export { for_each_map_elem, loop, tail_call } from "./helpers/callbacks";
export { call_back, run_callback } from "./helpers/host-callbacks";
export { map_create, map_free } from "./maps/create";
export {
  map_delete_elem,
  map_lookup_elem,
  map_lookup_percpu_elem,
  map_peek_elem,
  map_pop_elem,
  map_push_elem,
  map_update_elem,
  spin_lock,
  spin_unlock,
} from "./maps/program";
export {
  hash_batch,
  hash_buckets,
  hash_lookup_16,
  hash_lookup_4,
  hash_lookup_8,
  hash_lookup_long,
  hash_update,
  lru_lookup_16,
  lru_lookup_4,
  lru_lookup_8,
  lru_lookup_long,
  percpu_lookup_16,
  percpu_lookup_4,
  percpu_lookup_8,
  percpu_lookup_long,
} from "./maps/hash";
export {
  ringbuf_discard,
  ringbuf_output,
  ringbuf_query,
  ringbuf_reserve,
  ringbuf_submit,
} from "./maps/ring";
export { perf_event_output } from "./maps/perf";
export { redirect_map } from "./maps/redirects";
export { stack_map_put } from "./maps/stacks";
export { arena_alloc_pages, arena_free_pages, arena_reserve_pages } from "./maps/arena";
export {
  cgrp_storage_delete,
  cgrp_storage_get,
  get_local_storage,
  inode_storage_delete,
  inode_storage_get,
  sk_storage_delete,
  sk_storage_get,
  task_storage_delete,
  task_storage_get,
} from "./maps/storage";
export { claim_programs } from "./maps/programs";
export {
  map_delete,
  map_freeze,
  map_get_next_key,
  map_lookup_and_delete,
  map_lookup_copy,
  map_lookup_percpu,
  map_update_copy,
} from "./maps/syscall";
export { get_prandom_u32, get_smp_processor_id } from "./helpers/cpu";
export { csum_diff } from "./helpers/checksum";
export { redirect, redirect_neigh, redirect_peer } from "./helpers/redirect";
export {
  set_hash,
  set_hash_invalid,
  skb_change_type,
  skb_load_bytes,
  skb_load_bytes_relative,
  skb_pull_data,
  skb_store_bytes,
} from "./helpers/skb";
export { csum_level, csum_update, l3_csum_replace, l4_csum_replace } from "./helpers/skb-checksum";
export {
  skb_adjust_room,
  skb_change_head,
  skb_change_proto,
  skb_change_tail,
  skb_vlan_pop,
  skb_vlan_push,
} from "./helpers/skb-room";
export { skb_net_pop, skb_net_push, skb_pop_outer, skb_push_outer } from "./helpers/skb-encap";
export {
  xdp_adjust_head,
  xdp_adjust_meta,
  xdp_adjust_tail,
  xdp_get_buff_len,
  xdp_load_bytes,
  xdp_pull_data,
  xdp_store_bytes,
} from "./helpers/xdp";
export { xdp_pointer } from "./helpers/xdp-frags";
export { check_access, may_access, may_read, window_room } from "./sandbox/access";
export { end_run } from "./sandbox/ends";
export { trie_lookup_8, trie_lookup_long } from "./maps/trie";
export { object_alloc, object_cache, object_of, object_retain } from "./objects";
export { object_release } from "./owned";
export { field_at, field_beside, owner_of } from "./sandbox/fields";
export { grant } from "./sandbox/grants";
export { region_add, region_count, region_remove, region_table, region_writes } from "./sandbox/regions";
export { check_call, check_contract, check_packet_context } from "./sandbox/arguments";
export {
  copy_from_user,
  may_probe,
  probe_read,
  probe_read_kernel,
  probe_read_kernel_str,
  probe_read_str,
  probe_read_user,
  probe_read_user_str,
  probe_write_user,
  space_of,
} from "./helpers/probe";
export {
  embed_alloc,
  embed_batch,
  embed_call,
  embed_context,
  embed_done,
  embed_fault,
  embed_manifest,
  embed_manifest_size,
  embed_map_delete,
  embed_map_lookup,
  embed_map_next_key,
  embed_map_update,
  embed_packet_buffer,
  embed_result,
  embed_ring_consume,
  embed_ring_peek,
  embed_run,
  embed_seed,
  embed_start,
} from "./embed";
