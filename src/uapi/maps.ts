/**
 * What the kernel demands of maps, one row for each type: the table for the verifier, the loader and `skep maps --types`.
 *
 * Questions that it answers: may a helper take a map of this type ({@link helperTakesMap}); may values of this type hold a
 * lock, a timer, a kernel pointer ({@link mapTakesField}); may a sleepable program use it (`sleepable`); what does
 * bpf_map_lookup_elem give (`lookup`); which flags may it be created with (`flags`, `needs`); has it keys, values, batch
 * commands, does bpf_for_each_map_elem walk it. Flags that bind programs, BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG, are
 * in {@link programMayWrite} and {@link programMayRead}; all as bits in {@link MAP_FLAGS}.
 *
 * Facts are those of Linux 6.18: kernel/bpf/verifier.c (check_map_func_compatibility, check_map_prog_compatibility,
 * record_func_map), kernel/bpf/syscall.c (map_check_btf) and each type's map_alloc_check. A test holds the
 * rows against the running kernel.
 */
import type { HelperName } from "./helpers.ts";
import type { MapType, ProgramType } from "./types.ts";

/** Flags of BPF_MAP_CREATE, as bits. */
export const MAP_FLAGS = {
  no_prealloc: 1 << 0,
  no_common_lru: 1 << 1,
  numa_node: 1 << 2,
  rdonly: 1 << 3,
  wronly: 1 << 4,
  stack_build_id: 1 << 5,
  zero_seed: 1 << 6,
  rdonly_prog: 1 << 7,
  wronly_prog: 1 << 8,
  clone: 1 << 9,
  mmapable: 1 << 10,
  preserve_elems: 1 << 11,
  inner_map: 1 << 12,
  link: 1 << 13,
  vtype_btf_obj_fd: 1 << 15,
  token_fd: 1 << 16,
  segv_on_fault: 1 << 17,
  no_user_conv: 1 << 18,
} as const;

/** "no_prealloc", ...: the kernel's names without BPF_F_. */
export type MapFlag = keyof typeof MAP_FLAGS;

/** Fields of a value that the kernel keeps for itself (enum btf_field_type), by the struct or type tag that makes them. */
export type SpecialField =
  | "spin_lock"
  | "res_spin_lock"
  | "timer"
  | "wq"
  | "task_work"
  | "kptr"
  | "percpu_kptr"
  | "uptr"
  | "list_head"
  | "rb_root"
  | "refcount";

/** What bpf_map_lookup_elem returns: a value, a map inside, a struct bpf_sock, a struct bpf_xdp_sock; "none": it may not. */
export type LookupResult = "value" | "map" | "socket" | "xdp_socket" | "none";

/** What one map type demands. */
export interface MapRules {
  readonly name: MapType;
  /** The flags that it may be created with, and those that it must be. */
  readonly flags: readonly MapFlag[];
  readonly needs?: readonly MapFlag[];
  /** Bytes of a key and of a value: a number, several, or the bounds; 0: there is none. */
  readonly key: readonly number[] | { readonly min: number; readonly max?: number };
  readonly value: readonly number[] | { readonly min: number; readonly max?: number };
  /** max_entries: any number above 0, none (0), exactly one, bytes (a power of two of pages) or pages. */
  readonly entries: "any" | "zero" | "one" | "bytes" | "pages";
  /** The only helpers that may take it. Absent: all but those that want other types ({@link HELPER_MAPS}). */
  readonly helpers?: readonly HelperName[];
  readonly lookup: LookupResult;
  readonly fields: readonly SpecialField[];
  readonly sleepable?: boolean;
  /** bpf_for_each_map_elem walks it. */
  readonly forEach?: boolean;
  /** The BPF_MAP_*_BATCH commands that it has. */
  readonly batch?: readonly ("lookup" | "update" | "delete" | "lookup_and_delete")[];
  /** BPF_MAP_LOOKUP_AND_DELETE_ELEM works. */
  readonly lookupAndDelete?: boolean;
  /** A program can address its value itself (BPF_PSEUDO_MAP_VALUE). */
  readonly direct?: boolean;
  /** A value for each CPU. */
  readonly perCpu?: boolean;
  /** It can be in a map of maps: outer maps take it as a template. */
  readonly inner?: boolean;
}

const ACCESS = ["rdonly", "wronly", "rdonly_prog", "wronly_prog"] as const;
const HOST_ACCESS = ["rdonly", "wronly"] as const;
const HASH_FLAGS = ["no_prealloc", "numa_node", "zero_seed", ...ACCESS] as const;
const LRU_FLAGS = ["no_common_lru", "numa_node", "zero_seed", ...ACCESS] as const;
const ARRAY_BATCHES = ["lookup", "update"] as const;
const TRIE_BATCHES = [...ARRAY_BATCHES, "delete"] as const;
const HASH_BATCHES = [...TRIE_BATCHES, "lookup_and_delete"] as const;
const KPTRS = ["kptr", "percpu_kptr", "refcount"] as const;
const VALUE_FIELDS = [
  "spin_lock",
  "res_spin_lock",
  "timer",
  "wq",
  "task_work",
  ...KPTRS,
  "list_head",
  "rb_root",
] as const;
const LRU_FIELDS = ["timer", "wq", "task_work", ...KPTRS, "list_head", "rb_root"] as const;
const STORAGE_FIELDS = ["spin_lock", "res_spin_lock", ...KPTRS] as const;
const STORAGE = {
  flags: ["no_prealloc", "clone"],
  needs: ["no_prealloc"],
  key: [4],
  value: { min: 1 },
  entries: "zero",
  lookup: "none",
  fields: STORAGE_FIELDS,
  sleepable: true,
  inner: true,
} as const;

/** One row for each map type, in the order of MAP_TYPES. */
export const MAP_RULES = [
  {
    name: "hash",
    flags: HASH_FLAGS,
    key: { min: 1 },
    value: { min: 1 },
    entries: "any",
    lookup: "value",
    fields: VALUE_FIELDS,
    sleepable: true,
    forEach: true,
    batch: HASH_BATCHES,
    lookupAndDelete: true,
    inner: true,
  },
  {
    name: "array",
    flags: ["numa_node", "mmapable", "inner_map", ...ACCESS],
    key: [4],
    value: { min: 1, max: 0x7fffffff },
    entries: "any",
    lookup: "value",
    fields: VALUE_FIELDS,
    sleepable: true,
    forEach: true,
    batch: ARRAY_BATCHES,
    direct: true,
    inner: true,
  },
  {
    name: "prog_array",
    flags: ["numa_node", ...HOST_ACCESS],
    key: [4],
    value: [4],
    entries: "any",
    helpers: ["tail_call"],
    lookup: "none",
    fields: [],
  },
  {
    name: "perf_event_array",
    flags: ["numa_node", "preserve_elems", ...HOST_ACCESS],
    key: [4],
    value: [4],
    entries: "any",
    helpers: ["perf_event_read", "perf_event_output", "skb_output", "perf_event_read_value", "xdp_output"],
    lookup: "none",
    fields: [],
    inner: true,
  },
  {
    name: "percpu_hash",
    flags: ["no_prealloc", "zero_seed", ...ACCESS],
    key: { min: 1 },
    value: { min: 1, max: 32768 },
    entries: "any",
    lookup: "value",
    fields: KPTRS,
    sleepable: true,
    forEach: true,
    batch: HASH_BATCHES,
    lookupAndDelete: true,
    perCpu: true,
    inner: true,
  },
  {
    name: "percpu_array",
    flags: ACCESS,
    key: [4],
    value: { min: 1, max: 32768 },
    entries: "any",
    lookup: "value",
    fields: KPTRS,
    sleepable: true,
    forEach: true,
    batch: ARRAY_BATCHES,
    perCpu: true,
    inner: true,
  },
  {
    name: "stack_trace",
    flags: ["numa_node", "stack_build_id", ...HOST_ACCESS],
    key: [4],
    value: { min: 8, max: 1016 },
    entries: "any",
    helpers: ["get_stackid"],
    lookup: "none",
    fields: [],
    lookupAndDelete: true,
    inner: true,
  },
  {
    name: "cgroup_array",
    flags: ["numa_node", ...HOST_ACCESS],
    key: [4],
    value: [4],
    entries: "any",
    helpers: ["skb_under_cgroup", "current_task_under_cgroup"],
    lookup: "none",
    fields: [],
    inner: true,
  },
  {
    name: "lru_hash",
    flags: LRU_FLAGS,
    key: { min: 1 },
    value: { min: 1 },
    entries: "any",
    lookup: "value",
    fields: LRU_FIELDS,
    sleepable: true,
    forEach: true,
    batch: HASH_BATCHES,
    lookupAndDelete: true,
    inner: true,
  },
  {
    name: "lru_percpu_hash",
    flags: ["no_common_lru", "zero_seed", ...ACCESS],
    key: { min: 1 },
    value: { min: 1, max: 32768 },
    entries: "any",
    lookup: "value",
    fields: KPTRS,
    sleepable: true,
    forEach: true,
    batch: HASH_BATCHES,
    lookupAndDelete: true,
    perCpu: true,
    inner: true,
  },
  {
    name: "lpm_trie",
    flags: ["no_prealloc", "numa_node", ...ACCESS],
    needs: ["no_prealloc"],
    key: { min: 5, max: 260 },
    value: { min: 1 },
    entries: "any",
    lookup: "value",
    fields: [],
    batch: TRIE_BATCHES,
    inner: true,
  },
  {
    name: "array_of_maps",
    flags: ["numa_node", ...HOST_ACCESS],
    key: [4],
    value: [4],
    entries: "any",
    helpers: ["map_lookup_elem"],
    lookup: "map",
    fields: [],
    sleepable: true,
    batch: ARRAY_BATCHES,
  },
  {
    name: "hash_of_maps",
    flags: HASH_FLAGS,
    key: { min: 1 },
    value: [4],
    entries: "any",
    helpers: ["map_lookup_elem"],
    lookup: "map",
    fields: [],
    sleepable: true,
    batch: HASH_BATCHES,
  },
  {
    name: "devmap",
    flags: ["numa_node", ...HOST_ACCESS],
    key: [4],
    value: [4, 8],
    entries: "any",
    helpers: ["redirect_map", "map_lookup_elem"],
    lookup: "value",
    fields: [],
    inner: true,
  },
  {
    name: "sockmap",
    flags: ["numa_node", ...HOST_ACCESS],
    key: [4],
    value: [4, 8],
    entries: "any",
    helpers: [
      "sk_redirect_map",
      "sock_map_update",
      "msg_redirect_map",
      "sk_select_reuseport",
      "map_lookup_elem",
      "map_update_elem",
      "map_delete_elem",
    ],
    lookup: "socket",
    fields: [],
    inner: true,
  },
  {
    name: "cpumap",
    flags: ["numa_node"],
    key: [4],
    value: [4, 8],
    entries: "any",
    helpers: ["redirect_map"],
    lookup: "none",
    fields: [],
    inner: true,
  },
  {
    name: "xskmap",
    flags: ["numa_node", ...HOST_ACCESS],
    key: [4],
    value: [4],
    entries: "any",
    helpers: ["redirect_map", "map_lookup_elem"],
    lookup: "xdp_socket",
    fields: [],
    inner: true,
  },
  {
    name: "sockhash",
    flags: ["numa_node", ...HOST_ACCESS],
    key: { min: 1, max: 512 },
    value: [4, 8],
    entries: "any",
    helpers: [
      "sk_redirect_hash",
      "sock_hash_update",
      "msg_redirect_hash",
      "sk_select_reuseport",
      "map_lookup_elem",
      "map_update_elem",
      "map_delete_elem",
    ],
    lookup: "socket",
    fields: [],
    inner: true,
  },
  {
    name: "cgroup_storage",
    flags: ["numa_node", ...ACCESS],
    key: [8, 16],
    value: { min: 1, max: 4096 },
    entries: "zero",
    helpers: ["get_local_storage"],
    lookup: "none",
    fields: ["spin_lock", "res_spin_lock"],
  },
  {
    name: "reuseport_sockarray",
    flags: ["numa_node", ...ACCESS],
    key: [4],
    value: [4, 8],
    entries: "any",
    helpers: ["sk_select_reuseport"],
    lookup: "none",
    fields: [],
    inner: true,
  },
  {
    name: "percpu_cgroup_storage",
    flags: ["numa_node", ...ACCESS],
    key: [8, 16],
    value: { min: 1, max: 4096 },
    entries: "zero",
    helpers: ["get_local_storage"],
    lookup: "none",
    fields: [],
    perCpu: true,
  },
  {
    name: "queue",
    flags: ["numa_node", ...ACCESS],
    key: [0],
    value: { min: 1 },
    entries: "any",
    helpers: ["map_peek_elem", "map_pop_elem", "map_push_elem"],
    lookup: "none",
    fields: [],
    sleepable: true,
    lookupAndDelete: true,
    inner: true,
  },
  {
    name: "stack",
    flags: ["numa_node", ...ACCESS],
    key: [0],
    value: { min: 1 },
    entries: "any",
    helpers: ["map_peek_elem", "map_pop_elem", "map_push_elem"],
    lookup: "none",
    fields: [],
    sleepable: true,
    lookupAndDelete: true,
    inner: true,
  },
  { name: "sk_storage", ...STORAGE, helpers: ["sk_storage_get", "sk_storage_delete", "kptr_xchg"] },
  {
    name: "devmap_hash",
    flags: ["numa_node", ...HOST_ACCESS],
    key: [4],
    value: [4, 8],
    entries: "any",
    helpers: ["redirect_map", "map_lookup_elem"],
    lookup: "value",
    fields: [],
    inner: true,
  },
  {
    name: "struct_ops",
    flags: ["link", "vtype_btf_obj_fd"],
    key: [4],
    value: { min: 1 },
    entries: "one",
    helpers: [],
    lookup: "none",
    fields: [],
  },
  {
    name: "ringbuf",
    flags: ["numa_node"],
    key: [0],
    value: [0],
    entries: "bytes",
    helpers: [
      "ringbuf_output",
      "ringbuf_reserve",
      "ringbuf_query",
      "ringbuf_reserve_dynptr",
      "ringbuf_submit_dynptr",
      "ringbuf_discard_dynptr",
    ],
    lookup: "none",
    fields: [],
    sleepable: true,
    inner: true,
  },
  {
    name: "inode_storage",
    ...STORAGE,
    helpers: ["inode_storage_get", "inode_storage_delete", "kptr_xchg"],
  },
  {
    name: "task_storage",
    ...STORAGE,
    fields: [...STORAGE_FIELDS, "uptr"],
    helpers: ["task_storage_get", "task_storage_delete", "kptr_xchg"],
  },
  {
    name: "bloom_filter",
    flags: ["numa_node", "zero_seed", ...ACCESS],
    key: [0],
    value: { min: 1 },
    entries: "any",
    helpers: ["map_peek_elem", "map_push_elem"],
    lookup: "none",
    fields: [],
    inner: true,
  },
  {
    name: "user_ringbuf",
    flags: ["numa_node"],
    key: [0],
    value: [0],
    entries: "bytes",
    helpers: ["user_ringbuf_drain"],
    lookup: "none",
    fields: [],
    sleepable: true,
    inner: true,
  },
  { name: "cgrp_storage", ...STORAGE, helpers: ["cgrp_storage_get", "cgrp_storage_delete", "kptr_xchg"] },
  {
    name: "arena",
    flags: ["mmapable", "segv_on_fault", "no_user_conv"],
    needs: ["mmapable"],
    key: [0],
    value: [0],
    entries: "pages",
    lookup: "none",
    fields: [],
    sleepable: true,
  },
] as const satisfies readonly MapRules[];

/** Helpers that take maps of certain types only. A helper that has no row here takes what the map's row allows. */
export const HELPER_MAPS: Readonly<Partial<Record<HelperName, readonly MapType[]>>> = {
  tail_call: ["prog_array"],
  perf_event_read: ["perf_event_array"],
  perf_event_output: ["perf_event_array"],
  perf_event_read_value: ["perf_event_array"],
  skb_output: ["perf_event_array"],
  xdp_output: ["perf_event_array"],
  ringbuf_output: ["ringbuf"],
  ringbuf_reserve: ["ringbuf"],
  ringbuf_query: ["ringbuf"],
  ringbuf_reserve_dynptr: ["ringbuf"],
  ringbuf_submit_dynptr: ["ringbuf"],
  ringbuf_discard_dynptr: ["ringbuf"],
  user_ringbuf_drain: ["user_ringbuf"],
  get_stackid: ["stack_trace"],
  current_task_under_cgroup: ["cgroup_array"],
  skb_under_cgroup: ["cgroup_array"],
  redirect_map: ["devmap", "devmap_hash", "cpumap", "xskmap"],
  sk_redirect_map: ["sockmap"],
  msg_redirect_map: ["sockmap"],
  sock_map_update: ["sockmap"],
  sk_redirect_hash: ["sockhash"],
  msg_redirect_hash: ["sockhash"],
  sock_hash_update: ["sockhash"],
  get_local_storage: ["cgroup_storage", "percpu_cgroup_storage"],
  sk_select_reuseport: ["reuseport_sockarray", "sockmap", "sockhash"],
  map_pop_elem: ["queue", "stack"],
  map_peek_elem: ["queue", "stack", "bloom_filter"],
  map_push_elem: ["queue", "stack", "bloom_filter"],
  map_lookup_percpu_elem: ["percpu_array", "percpu_hash", "lru_percpu_hash"],
  sk_storage_get: ["sk_storage"],
  sk_storage_delete: ["sk_storage"],
  inode_storage_get: ["inode_storage"],
  inode_storage_delete: ["inode_storage"],
  task_storage_get: ["task_storage"],
  task_storage_delete: ["task_storage"],
  cgrp_storage_get: ["cgrp_storage"],
  cgrp_storage_delete: ["cgrp_storage"],
};

/** Helpers that write into a map: refused for maps with BPF_F_RDONLY_PROG, and for frozen ones they see constants. */
export const WRITING_HELPERS: readonly HelperName[] = [
  "map_update_elem",
  "map_delete_elem",
  "map_push_elem",
  "map_pop_elem",
];

/** Programs that may change sockmaps and sockhashes by bpf_map_update_elem (verifier.c, may_update_sockmap). */
export const SOCKMAP_UPDATERS: readonly ProgramType[] = [
  "tracing",
  "sock_ops",
  "socket_filter",
  "sched_cls",
  "sched_act",
  "xdp",
  "sk_reuseport",
  "flow_dissector",
  "sk_lookup",
];

const BY_NAME: ReadonlyMap<string, MapRules> = new Map(MAP_RULES.map((row) => [row.name, row]));

/** The row of a type. */
export function mapRules(type: MapType): MapRules {
  return BY_NAME.get(type) as MapRules;
}

/**
 * Whether the verifier lets a helper take a map of this type ("cannot pass map_type %d into func %s#%d"). Sockmaps
 * depend on the program as well: see {@link SOCKMAP_UPDATERS}.
 *
 * @example
 * helperTakesMap("map_update_elem", "array"); // true
 * helperTakesMap("map_update_elem", "ringbuf"); // false
 */
export function helperTakesMap(helper: HelperName, type: MapType): boolean {
  const { helpers } = mapRules(type);
  if (helpers !== undefined && !helpers.includes(helper)) return false;
  return HELPER_MAPS[helper]?.includes(type) ?? true;
}

/** Whether values of a map may hold such a field; otherwise creation fails with EOPNOTSUPP. */
export function mapTakesField(type: MapType, field: SpecialField): boolean {
  return mapRules(type).fields.includes(field);
}

/** Stores to values, and {@link WRITING_HELPERS} ("write into map forbidden": EACCES). */
export function programMayWrite(flags: number): boolean {
  return (flags & MAP_FLAGS.rdonly_prog) === 0;
}

/** Loads from values ("read from map forbidden": EACCES). */
export function programMayRead(flags: number): boolean {
  return (flags & MAP_FLAGS.wronly_prog) === 0;
}
