/**
 * What the probe asks: one row for each program type, map type and feature. Most program types load bare; the others
 * say here what they need, or by which complaint a kernel that has them is known.
 */
import type { Instruction } from "../isa/index.ts";
import { type AttachType, MAP_FLAGS, type MapType, type ProgramType } from "../uapi/index.ts";
import { op, second } from "./build.ts";
import { PROGRAM_FLAGS } from "./tables.ts";

export interface ProgramProbe {
  readonly attach?: AttachType;
  readonly flags?: number;
  readonly attachBtfId?: number;
  /** A kernel that has the type answers the probe with this error, */
  readonly errno?: "ENOTSUPP";
  /** or with this complaint in the log. */
  readonly complaint?: RegExp;
  /** The option that the type depends on beyond CONFIG_BPF_SYSCALL. */
  readonly config?: string;
}

/** What differs from a bare `r0 = 0; exit`. */
export const PROGRAM_PROBES: Readonly<Partial<Record<ProgramType, ProgramProbe>>> = {
  kprobe: { config: "CONFIG_BPF_EVENTS" },
  tracepoint: { config: "CONFIG_BPF_EVENTS" },
  perf_event: { config: "CONFIG_BPF_EVENTS" },
  raw_tracepoint: { config: "CONFIG_BPF_EVENTS" },
  raw_tracepoint_writable: { config: "CONFIG_BPF_EVENTS" },
  cgroup_skb: { config: "CONFIG_CGROUP_BPF" },
  cgroup_sock: { config: "CONFIG_CGROUP_BPF" },
  cgroup_device: { config: "CONFIG_CGROUP_BPF" },
  cgroup_sysctl: { config: "CONFIG_CGROUP_BPF" },
  cgroup_sockopt: { attach: "cgroup_getsockopt", config: "CONFIG_CGROUP_BPF" },
  cgroup_sock_addr: { attach: "cgroup_inet4_connect", config: "CONFIG_CGROUP_BPF" },
  lwt_seg6local: { config: "CONFIG_IPV6_SEG6_BPF" },
  lirc_mode2: { config: "CONFIG_BPF_LIRC_MODE2" },
  // Type 1 of the kernel's BTF is an integer, which no program can attach to.
  tracing: {
    attach: "trace_fentry",
    attachBtfId: 1,
    complaint: /attach_btf_id 1 is not a function/,
    config: "CONFIG_BPF_EVENTS",
  },
  ext: { attachBtfId: 1, complaint: /Cannot replace kernel functions/ },
  lsm: {
    attach: "lsm_mac",
    attachBtfId: 1,
    complaint: /attach_btf_id 1 is not a function/,
    config: "CONFIG_BPF_LSM",
  },
  struct_ops: { errno: "ENOTSUPP", config: "CONFIG_BPF_JIT" },
  sk_lookup: { attach: "sk_lookup" },
  syscall: { flags: PROGRAM_FLAGS.sleepable },
  netfilter: { attach: "netfilter", config: "CONFIG_NETFILTER_BPF_LINK" },
};

export interface MapProbe {
  readonly keySize?: number;
  readonly valueSize?: number;
  readonly maxEntries?: number;
  readonly flags?: number;
  /** Needs BTF of its key and value. */
  readonly btf?: boolean;
  /** Needs a map that shows what the inner ones are like. */
  readonly inner?: boolean;
  /** A kernel that has the type answers with this error. */
  readonly errno?: "ENOTSUPP";
  readonly config?: string;
}

const PAGE = 4096;
const STORAGE: MapProbe = { maxEntries: 0, flags: MAP_FLAGS.no_prealloc, btf: true };

/** What differs from a map with a key and a value of 4 bytes and one entry. */
export const MAP_PROBES: Readonly<Partial<Record<MapType, MapProbe>>> = {
  stack_trace: { valueSize: 8, config: "CONFIG_PERF_EVENTS" },
  lpm_trie: { keySize: 8, valueSize: 8, flags: MAP_FLAGS.no_prealloc },
  cgroup_array: { config: "CONFIG_CGROUPS" },
  cgroup_storage: { keySize: 16, valueSize: 8, maxEntries: 0, config: "CONFIG_CGROUP_BPF" },
  percpu_cgroup_storage: { keySize: 16, valueSize: 8, maxEntries: 0, config: "CONFIG_CGROUP_BPF" },
  array_of_maps: { inner: true },
  hash_of_maps: { inner: true },
  queue: { keySize: 0 },
  stack: { keySize: 0 },
  bloom_filter: { keySize: 0 },
  ringbuf: { keySize: 0, valueSize: 0, maxEntries: PAGE },
  user_ringbuf: { keySize: 0, valueSize: 0, maxEntries: PAGE },
  xskmap: { config: "CONFIG_XDP_SOCKETS" },
  sk_storage: STORAGE,
  inode_storage: { ...STORAGE, config: "CONFIG_BPF_LSM" },
  task_storage: STORAGE,
  cgrp_storage: { ...STORAGE, config: "CONFIG_CGROUPS" },
  struct_ops: { valueSize: 0, errno: "ENOTSUPP", config: "CONFIG_BPF_JIT" },
  arena: { keySize: 0, valueSize: 0, flags: MAP_FLAGS.mmapable, config: "CONFIG_MMU" },
};

export interface FeatureProbe {
  readonly name: string;
  readonly title: string;
  /** The first Linux that has it. */
  readonly since: string;
  /** A program that only a kernel with the feature accepts. Default type: socket_filter. */
  readonly program?: readonly Instruction[];
  readonly type?: ProgramType;
  /** Or a kernel with the feature is known by this complaint in the log. */
  readonly complaint?: RegExp;
  /** BTF types (after "int", which is type 1) that only a kernel with the feature accepts. */
  readonly btf?: readonly (readonly number[])[];
  /** A map that only a kernel with the feature accepts. */
  readonly map?: MapProbe & { readonly type: MapType };
}

const exit = op("exit");
const zero = op("mov64_imm", { dst: 0, imm: 0 });
const one = op("mov64_imm", { dst: 1, imm: 1 });
const two = op("mov64_imm", { dst: 2, imm: 2 });
const spill = op("stxdw", { dst: 10, src: 1, offset: -8 });

/** Instructions: clang's levels v2 to v4, and what came after. */
export const INSTRUCTION_PROBES: readonly FeatureProbe[] = [
  {
    name: "v2",
    title: "instruction set v2: unsigned and signed less-than jumps",
    since: "4.14",
    program: [zero, op("jlt64_imm", { dst: 0, offset: 0, imm: 1 }), exit],
  },
  {
    name: "v3",
    title: "instruction set v3: 32-bit jumps",
    since: "5.1",
    program: [zero, op("jlt32_imm", { dst: 0, offset: 0, imm: 1 }), exit],
  },
  {
    name: "v4",
    title: "instruction set v4: sign extension, signed division, byte swap, long jumps",
    since: "6.6",
    program: [
      one,
      two,
      op("movsx8to64", { dst: 0, src: 1 }),
      op("sdiv64_reg", { dst: 0, src: 2 }),
      op("swap32", { dst: 0 }),
      op("ja32", { imm: 0 }),
      exit,
    ],
  },
  {
    name: "large_programs",
    title: "more than 4096 instructions",
    since: "5.2",
    program: [...Array.from({ length: 4100 }, () => zero), exit],
  },
  {
    name: "bounded_loops",
    title: "bounded loops",
    since: "5.3",
    program: [
      op("mov64_imm", { dst: 0, imm: 10 }),
      op("sub64_imm", { dst: 0, imm: 1 }),
      op("jne64_imm", { dst: 0, offset: -2, imm: 0 }),
      exit,
    ],
  },
  {
    name: "subprograms",
    title: "calls between functions of a program",
    since: "4.16",
    program: [op("call_local", { imm: 1 }), exit, zero, exit],
  },
  {
    name: "atomics",
    title: "atomic fetch-and-modify, exchange, compare-and-exchange",
    since: "5.12",
    program: [one, spill, op("atomic_fetch_add64", { dst: 10, src: 1, offset: -8 }), zero, exit],
  },
  {
    name: "load_acquire",
    title: "load-acquire and store-release",
    since: "6.15",
    program: [one, spill, op("load_acquire64", { dst: 0, src: 10, offset: -8 }), zero, exit],
  },
  { name: "may_goto", title: "may_goto", since: "6.9", program: [zero, op("may_goto", { offset: 0 }), exit] },
  {
    name: "callbacks",
    title: "callbacks (bpf_loop)",
    since: "5.17",
    type: "xdp",
    // A kernel that has them asks for BTF of the callback; one that has not does not know the instruction.
    complaint: /missing btf func_info/,
    program: [
      op("mov64_imm", { dst: 1, imm: 1 }),
      op("lddw_func", { dst: 2, imm: 6 }),
      second(),
      op("mov64_imm", { dst: 3, imm: 0 }),
      op("mov64_imm", { dst: 4, imm: 0 }),
      op("call_helper", { imm: 181 }),
      zero,
      exit,
      zero,
      exit,
    ],
  },
  {
    name: "packet_loads",
    title: "packet loads of classic BPF (ld abs, ld ind)",
    since: "3.18",
    program: [op("mov64_reg", { dst: 6, src: 1 }), op("ldabsb", { imm: 0 }), exit],
  },
];

const kind = (code: number, flag = 0, length = 0): number => ((flag << 31) | (code << 24) | length) >>> 0;

/** Kinds of BTF; rows are the words of each type: name offset, info, size or type, and what follows. */
export const BTF_PROBES: readonly FeatureProbe[] = [
  { name: "btf", title: "BTF", since: "4.18", btf: [] },
  {
    name: "btf_func",
    title: "BTF of functions",
    since: "5.0",
    btf: [
      [0, kind(13, 0, 0), 0],
      [5, kind(12), 2],
    ],
  },
  {
    name: "btf_func_global",
    title: "BTF of global functions",
    since: "5.6",
    btf: [
      [0, kind(13, 0, 0), 0],
      [5, kind(12, 0, 1), 2],
    ],
  },
  {
    name: "btf_datasec",
    title: "BTF of variables and data sections",
    since: "5.2",
    btf: [
      [5, kind(14), 1, 0],
      [7, kind(15, 0, 1), 4, 2, 0, 4],
    ],
  },
  { name: "btf_float", title: "BTF of floating point", since: "5.13", btf: [[5, kind(16), 4]] },
  {
    name: "btf_decl_tag",
    title: "BTF of declaration tags",
    since: "5.16",
    btf: [
      [5, kind(14), 1, 0],
      [5, kind(17), 2, 0xffffffff],
    ],
  },
  {
    name: "btf_type_tag",
    title: "BTF of type tags",
    since: "5.17",
    btf: [
      [5, kind(18), 1],
      [0, kind(2), 2],
    ],
  },
  { name: "btf_enum64", title: "BTF of 64-bit enums", since: "6.0", btf: [[0, kind(19, 0, 1), 8, 5, 0, 0]] },
];

/** Names used by {@link BTF_PROBES}: offset 1 "int", 5 "x", 7 ".data". */
export const BTF_PROBE_STRINGS = "\0int\0x\0.data\0";

/** Maps with flags that came later. */
export const MAP_FEATURE_PROBES: readonly FeatureProbe[] = [
  {
    name: "mmapable_array",
    title: "arrays that can be mapped into memory",
    since: "5.5",
    map: { type: "array", flags: MAP_FLAGS.mmapable },
  },
  {
    name: "read_only_maps",
    title: "maps that programs cannot write to",
    since: "5.2",
    map: { type: "array", flags: MAP_FLAGS.rdonly_prog },
  },
];
