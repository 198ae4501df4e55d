/** Program types that watch or replace the kernel's own functions: probes, tracepoints, samples, LSM hooks, struct_ops. */
import { NARROW64, WHOLE, WHOLE64 } from "./rights.ts";
import type { ContextField, ContextLayout, Hook, OpenRange } from "./types.ts";

/** struct pt_regs of x86-64, in the kernel's names. */
export const REGISTERS_X86_64 = [
  "r15",
  "r14",
  "r13",
  "r12",
  "bp",
  "bx",
  "r11",
  "r10",
  "r9",
  "r8",
  "ax",
  "cx",
  "dx",
  "si",
  "di",
  "orig_ax",
  "ip",
  "cs",
  "flags",
  "sp",
  "ss",
] as const;

const PT_REGS_SIZE = REGISTERS_X86_64.length * 8;

// linux/filter.h, linux/bpf.h: MAX_BPF_FUNC_ARGS.
const MAX_ARGUMENTS = 12;

// linux/trace_events.h: PERF_MAX_TRACE_SIZE.
const MAX_TRACE = 8192;

const registers = (rights: Pick<ContextField, "read">): ContextField[] =>
  REGISTERS_X86_64.map((name, index) => ({ name, offset: index * 8, size: 8, input: true, ...rights }));

/** u64 arguments without types. */
const ARGUMENT_WORDS: OpenRange = { from: 0, to: MAX_ARGUMENTS * 8, write: false };

const ARGUMENTS: ContextLayout = {
  struct: "arguments",
  size: MAX_ARGUMENTS * 8,
  fields: [],
  arguments: true,
};

export const TRACING_HOOKS: readonly Hook[] = [
  {
    type: "kprobe",
    title: "probe: the registers at a function of the kernel or of a program, at its entry or its return",
    context: { struct: "pt_regs", size: PT_REGS_SIZE, fields: registers({ read: NARROW64 }) },
    returns: [
      // 1: the return probe of a session is not wanted.
      { only: ["trace_kprobe_session", "trace_uprobe_session"], values: [], range: [0, 1] },
      { values: [] },
    ],
    signed: false,
    attach: ["trace_kprobe_multi", "trace_uprobe_multi", "trace_kprobe_session", "trace_uprobe_session"],
    anyAttach: true,
  },
  {
    type: "tracepoint",
    title: "tracepoint: the record of an event, in the layout of its format file",
    // The first 8 bytes of a record are the kernel's own.
    context: {
      struct: "tracepoint record",
      size: MAX_TRACE,
      fields: [],
      open: { from: 8, to: MAX_TRACE, write: false, last: true },
    },
    returns: [{ values: [] }],
    signed: false,
    anyAttach: true,
  },
  {
    type: "raw_tracepoint",
    title: "raw tracepoint: the arguments of an event, as the kernel's code gives them",
    context: { struct: "bpf_raw_tracepoint_args", size: MAX_ARGUMENTS * 8, fields: [], open: ARGUMENT_WORDS },
    returns: [{ values: [] }],
    signed: false,
    anyAttach: true,
    testRun: true,
  },
  {
    type: "raw_tracepoint_writable",
    title: "raw tracepoint whose first argument is a buffer that may be written",
    context: {
      struct: "bpf_raw_tracepoint_args",
      size: MAX_ARGUMENTS * 8,
      fields: [{ name: "buffer", offset: 0, size: 8, read: WHOLE64, kind: "tp_buffer" }],
      open: ARGUMENT_WORDS,
    },
    returns: [{ values: [] }],
    signed: false,
    anyAttach: true,
  },
  {
    type: "perf_event",
    title: "perf event: registers, period and address of a sample",
    context: {
      struct: "bpf_perf_event_data",
      size: PT_REGS_SIZE + 16,
      fields: [
        ...registers({ read: WHOLE64 }),
        { name: "sample_period", offset: PT_REGS_SIZE, size: 8, input: true, read: NARROW64 },
        { name: "addr", offset: PT_REGS_SIZE + 8, size: 8, input: true, read: NARROW64 },
      ],
    },
    returns: [{ values: [] }],
    signed: false,
    attach: ["perf_event"],
    anyAttach: true,
  },
  {
    type: "tracing",
    title: "tracing: the typed arguments of a kernel function, a raw tracepoint or an iterator's element",
    context: ARGUMENTS,
    returns: [
      { only: ["trace_fentry", "trace_fexit"], values: [], range: [0, 0] },
      // 1: the iterator shows the same element again (bpf_seq_read).
      { only: ["trace_iter"], values: [], range: [0, 1] },
      { only: ["modify_return"], values: [], errno: true },
      { values: [] },
    ],
    signed: true,
    attach: ["trace_fentry", "trace_fexit", "modify_return", "trace_raw_tp", "trace_iter"],
    testRun: true,
  },
  {
    type: "lsm",
    title: "Linux security module: may this operation go on?",
    context: ARGUMENTS,
    returns: [
      {
        only: ["lsm_cgroup"],
        values: [
          { value: 0, name: "DENY" },
          { value: 1, name: "ALLOW" },
        ],
        range: [0, 1],
      },
      { values: [{ value: 0, name: "ALLOW" }], range: [-4095, 0], errno: true },
    ],
    signed: true,
    attach: ["lsm_mac", "lsm_cgroup"],
  },
  {
    type: "struct_ops",
    title: "struct_ops: a method of a kernel interface",
    context: ARGUMENTS,
    returns: [{ values: [] }],
    signed: true,
    anyAttach: true,
    testRun: true,
  },
  {
    type: "ext",
    title: "extension: takes the place of a global function of another program",
    context: ARGUMENTS,
    returns: [{ values: [] }],
    signed: true,
  },
  {
    type: "syscall",
    title: "system calls: a program that a process runs to load and set up others",
    context: {
      struct: "argument of BPF_PROG_TEST_RUN",
      size: 65535,
      fields: [],
      open: { from: 0, to: 65535, write: true, last: true },
    },
    returns: [{ values: [] }],
    signed: true,
    testRun: true,
  },
  {
    type: "lirc_mode2",
    title: "infrared: one pulse or space of a remote control",
    context: {
      struct: "unsigned int",
      size: 4,
      fields: [{ name: "sample", offset: 0, size: 4, input: true, read: WHOLE }],
    },
    returns: [{ values: [] }],
    signed: false,
    attach: ["lirc_mode2"],
    anyAttach: true,
  },
];
