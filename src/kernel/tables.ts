/**
 * bpf(2) as tables: the commands with their part of `union bpf_attr`, and the structs that describe objects
 * (uapi/linux/bpf.h of Linux 6.18). A test compiles the running kernel's own declarations and compares each offset.
 */

const ELEMENT = { map_fd: "u32", key: "ptr", value: "ptr", flags: "u64" } as const;
const BATCH = {
  in_batch: "ptr",
  out_batch: "ptr",
  keys: "ptr",
  values: "ptr",
  count: "u32",
  map_fd: "u32",
  elem_flags: "u64",
  flags: "u64",
} as const;
const NEXT_ID = { start_id: "u32", next_id: "u32", open_flags: "u32" } as const;
const PATH = { pathname: "ptr", bpf_fd: "u32", file_flags: "u32" } as const;

/** The commands that we give; none of them attaches anything. `member` is the part's name in the union, if it has one. */
export const COMMANDS = {
  map_create: {
    id: 0,
    member: "",
    fields: {
      map_type: "u32",
      key_size: "u32",
      value_size: "u32",
      max_entries: "u32",
      map_flags: "u32",
      inner_map_fd: "u32",
      numa_node: "u32",
      map_name: "name",
      map_ifindex: "u32",
      btf_fd: "u32",
      btf_key_type_id: "u32",
      btf_value_type_id: "u32",
      btf_vmlinux_value_type_id: "u32",
      map_extra: "u64",
    },
  },
  map_lookup_elem: { id: 1, member: "", fields: ELEMENT },
  map_update_elem: { id: 2, member: "", fields: ELEMENT },
  map_delete_elem: { id: 3, member: "", fields: { map_fd: "u32", key: "ptr" } },
  map_get_next_key: { id: 4, member: "", fields: { map_fd: "u32", key: "ptr", next_key: "ptr" } },
  prog_load: {
    id: 5,
    member: "",
    fields: {
      prog_type: "u32",
      insn_cnt: "u32",
      insns: "ptr",
      license: "ptr",
      log_level: "u32",
      log_size: "u32",
      log_buf: "ptr",
      kern_version: "u32",
      prog_flags: "u32",
      prog_name: "name",
      prog_ifindex: "u32",
      expected_attach_type: "u32",
      prog_btf_fd: "u32",
      func_info_rec_size: "u32",
      func_info: "ptr",
      func_info_cnt: "u32",
      line_info_rec_size: "u32",
      line_info: "ptr",
      line_info_cnt: "u32",
      attach_btf_id: "u32",
      attach_prog_fd: "u32",
      core_relo_cnt: "u32",
      fd_array: "ptr",
      core_relos: "ptr",
      core_relo_rec_size: "u32",
      log_true_size: "u32",
    },
  },
  obj_pin: { id: 6, member: "", fields: PATH },
  obj_get: { id: 7, member: "", fields: PATH },
  prog_test_run: {
    id: 10,
    member: "test",
    fields: {
      prog_fd: "u32",
      retval: "u32",
      data_size_in: "u32",
      data_size_out: "u32",
      data_in: "ptr",
      data_out: "ptr",
      repeat: "u32",
      duration: "u32",
      ctx_size_in: "u32",
      ctx_size_out: "u32",
      ctx_in: "ptr",
      ctx_out: "ptr",
      flags: "u32",
      cpu: "u32",
      batch_size: "u32",
    },
  },
  prog_get_next_id: { id: 11, member: "", fields: NEXT_ID },
  map_get_next_id: { id: 12, member: "", fields: NEXT_ID },
  prog_get_fd_by_id: { id: 13, member: "", fields: NEXT_ID },
  map_get_fd_by_id: { id: 14, member: "", fields: NEXT_ID },
  obj_get_info_by_fd: { id: 15, member: "info", fields: { bpf_fd: "u32", info_len: "u32", info: "ptr" } },
  btf_load: {
    id: 18,
    member: "",
    fields: {
      btf: "ptr",
      btf_log_buf: "ptr",
      btf_size: "u32",
      btf_log_size: "u32",
      btf_log_level: "u32",
      btf_log_true_size: "u32",
    },
  },
  btf_get_fd_by_id: { id: 19, member: "", fields: NEXT_ID },
  map_lookup_and_delete_elem: { id: 21, member: "", fields: ELEMENT },
  map_freeze: { id: 22, member: "", fields: { map_fd: "u32" } },
  btf_get_next_id: { id: 23, member: "", fields: NEXT_ID },
  map_lookup_batch: { id: 24, member: "batch", fields: BATCH },
  map_lookup_and_delete_batch: { id: 25, member: "batch", fields: BATCH },
  map_update_batch: { id: 26, member: "batch", fields: BATCH },
  map_delete_batch: { id: 27, member: "batch", fields: BATCH },
  link_get_next_id: { id: 31, member: "", fields: NEXT_ID },
  prog_bind_map: {
    id: 35,
    member: "prog_bind_map",
    fields: { prog_fd: "u32", map_fd: "u32", flags: "u32" },
  },
} as const;

/** "map_create", "prog_load", ...: enum bpf_cmd in lower case. */
export type Command = keyof typeof COMMANDS;

/** What OBJ_GET_INFO_BY_FD writes, by kind of object. */
export const INFOS = {
  program: {
    struct: "bpf_prog_info",
    fields: {
      type: "u32",
      id: "u32",
      tag: "tag",
      jited_prog_len: "u32",
      xlated_prog_len: "u32",
      jited_prog_insns: "ptr",
      xlated_prog_insns: "ptr",
      load_time: "u64",
      created_by_uid: "u32",
      nr_map_ids: "u32",
      map_ids: "ptr",
      name: "name",
      ifindex: "u32",
      // A bit field of one bit, the lowest of these 32.
      gpl_compatible: "u32",
      netns_dev: "u64",
      netns_ino: "u64",
      nr_jited_ksyms: "u32",
      nr_jited_func_lens: "u32",
      jited_ksyms: "ptr",
      jited_func_lens: "ptr",
      btf_id: "u32",
      func_info_rec_size: "u32",
      func_info: "ptr",
      nr_func_info: "u32",
      nr_line_info: "u32",
      line_info: "ptr",
      jited_line_info: "ptr",
      nr_jited_line_info: "u32",
      line_info_rec_size: "u32",
      jited_line_info_rec_size: "u32",
      nr_prog_tags: "u32",
      prog_tags: "ptr",
      run_time_ns: "u64",
      run_cnt: "u64",
      recursion_misses: "u64",
      verified_insns: "u32",
      attach_btf_obj_id: "u32",
      attach_btf_id: "u32",
    },
  },
  map: {
    struct: "bpf_map_info",
    fields: {
      type: "u32",
      id: "u32",
      key_size: "u32",
      value_size: "u32",
      max_entries: "u32",
      map_flags: "u32",
      name: "name",
      ifindex: "u32",
      btf_vmlinux_value_type_id: "u32",
      netns_dev: "u64",
      netns_ino: "u64",
      btf_id: "u32",
      btf_key_type_id: "u32",
      btf_value_type_id: "u32",
      btf_vmlinux_id: "u32",
      map_extra: "u64",
    },
  },
  btf: {
    struct: "bpf_btf_info",
    fields: { btf: "ptr", btf_size: "u32", id: "u32", name: "ptr", name_len: "u32", kernel_btf: "u32" },
  },
} as const;

/** "program", "map", "btf": the kinds of objects that have a description. */
export type InfoKind = keyof typeof INFOS;

/** Flags of MAP_UPDATE_ELEM; at most one of the first three, and `lock` beside it. */
export const UPDATE_FLAGS = { any: 0, noexist: 1, exist: 2, lock: 4 } as const;

/** Flags of PROG_LOAD. */
export const PROGRAM_FLAGS = {
  strict_alignment: 1 << 0,
  any_alignment: 1 << 1,
  test_rnd_hi32: 1 << 2,
  test_state_freq: 1 << 3,
  sleepable: 1 << 4,
  xdp_has_frags: 1 << 5,
  xdp_dev_bound_only: 1 << 6,
  test_reg_invariants: 1 << 7,
} as const;

/** Flags of PROG_TEST_RUN. */
export const TEST_RUN_FLAGS = { run_on_cpu: 1, xdp_live_frames: 2, skb_checksum_complete: 4 } as const;

/** Longest name of a program or map, without its NUL (BPF_OBJ_NAME_LEN). */
export const NAME_LENGTH = 15;
