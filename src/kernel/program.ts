import { BpfError, VerifierError } from "../errors.ts";
import { type Instruction, SLOT_SIZE, encodeInstructions } from "../isa/index.ts";
import { ATTACH_TYPES, type AttachType, PROGRAM_TYPES, type ProgramType } from "../uapi/index.ts";
import { nameOfErrno } from "./errno.ts";
import { type ProgramInfo, objectName, programInfo, xlatedInstructions } from "./info.ts";
import { Handle, type Kernel, refusal } from "./kernel.ts";
import { reasonOf } from "../verifier/index.ts";
import { type Logged, withLog } from "./log.ts";
import type { KernelMap } from "./map.ts";
import { LITTLE_ENDIAN } from "./struct.ts";
import { TEST_RUN_FLAGS } from "./tables.ts";

/** Records of `.BTF.ext` in the kernel's form: instruction counts instead of bytes, type ids of the loaded BTF. */
export interface InfoRecords {
  readonly recordSize: number;
  readonly bytes: Uint8Array;
}

/** What a program is to be. */
export interface ProgramDefinition {
  readonly name?: string;
  readonly type: ProgramType;
  /** In host byte order; map references hold file descriptors. */
  readonly instructions: readonly Instruction[];
  /** Default "GPL". */
  readonly license?: string;
  /** Of struct_ops programs a number: the index of the member that it implements. */
  readonly expectedAttachType?: AttachType | number;
  /** Bits of PROGRAM_FLAGS. */
  readonly flags?: number;
  /**
   * What the verifier writes: 0 nothing (default), 1 the failing path, 2 every path, +4 statistics. A rejected program
   * is verified again at level 1, so that its error always has a log.
   */
  readonly logLevel?: number;
  readonly btf?: Handle;
  readonly functionInfo?: InfoRecords;
  readonly lineInfo?: InfoRecords;
  /** CO-RE relocations, which the kernel applies against its own types (since 5.17). */
  readonly coreRelocations?: InfoRecords;
  /** Of tracing, lsm and struct_ops programs: the kernel's type that it attaches to. */
  readonly attachBtfId?: number;
  /** Where that type is: a program (ext, fentry of programs) or a module's BTF; the kernel's own if left out. */
  readonly attachTo?: Handle;
  /** Maps and BTF that instructions name by index (`lddw` kinds map_idx, map_idx_value, kfunc offsets). */
  readonly fdArray?: readonly Handle[];
}

const EPERM = -1;
const EAGAIN = -11;
// As libbpf does it (bpf.c, PROG_LOAD_ATTEMPTS).
const ATTEMPTS = 5;
const DEFAULT_LICENSE = "GPL";

/**
 * Loads a program: the kernel verifies and compiles it. Nothing is attached.
 *
 * @throws VerifierError with the whole log if the verifier rejects it; BpfError code "kernel" if it is refused before.
 * @example
 * using program = loadProgram(kernel, { type: "xdp", instructions: assemble("r0 = 2; exit") });
 * program.testRun({ data: packet }).returnValue; // 2
 */
export function loadProgram(kernel: Kernel, definition: ProgramDefinition): KernelProgram {
  const level = definition.logLevel ?? 0;
  let { result, log } = attemptLoad(kernel, definition, level);
  // The verifier stops when a signal comes in (kernel/bpf/verifier.c, do_check: signal_pending).
  for (let attempt = 1; result === EAGAIN && attempt < ATTEMPTS; attempt++) {
    ({ result, log } = attemptLoad(kernel, definition, level));
  }
  // EPERM without a log is the lack of privilege; a second try would say no more.
  if (result < 0 && level === 0 && result !== EPERM) {
    const again = attemptLoad(kernel, definition, 1);
    // Whatever has changed in between: the second answer has the log to it.
    ({ result, log } = again);
  }
  if (result < 0) throw rejection(definition, result, log);
  return new KernelProgram(kernel, result, definition, log);
}

function attachTypeNumber(type: AttachType | number | undefined): number | undefined {
  return typeof type === "number" ? type : ATTACH_TYPES.find(({ name }) => name === type)?.id;
}

/** One PROG_LOAD without exceptions: the descriptor, which is the caller's to close, or the negated errno. */
export function attemptLoad(kernel: Kernel, definition: ProgramDefinition, logLevel: number): Logged {
  const { instructions, functionInfo, lineInfo, coreRelocations, fdArray } = definition;
  const insns = encodeInstructions(instructions, { littleEndian: LITTLE_ENDIAN });
  const fds = fdArray === undefined ? undefined : Uint32Array.from(fdArray, ({ fd }) => fd);
  const request = {
    prog_type: PROGRAM_TYPES.find(({ name }) => name === definition.type)?.id,
    insn_cnt: insns.length / SLOT_SIZE,
    insns,
    license: new TextEncoder().encode(`${definition.license ?? DEFAULT_LICENSE}\0`),
    prog_flags: definition.flags,
    prog_name: objectName(definition.name ?? ""),
    expected_attach_type: attachTypeNumber(definition.expectedAttachType),
    prog_btf_fd: definition.btf?.fd,
    func_info_rec_size: functionInfo?.recordSize,
    func_info: functionInfo?.bytes,
    func_info_cnt: functionInfo && functionInfo.bytes.length / functionInfo.recordSize,
    line_info_rec_size: lineInfo?.recordSize,
    line_info: lineInfo?.bytes,
    line_info_cnt: lineInfo && lineInfo.bytes.length / lineInfo.recordSize,
    core_relo_rec_size: coreRelocations?.recordSize,
    core_relos: coreRelocations?.bytes,
    core_relo_cnt: coreRelocations && coreRelocations.bytes.length / coreRelocations.recordSize,
    attach_btf_id: definition.attachBtfId,
    attach_prog_fd: definition.attachTo?.fd,
    fd_array: fds && new Uint8Array(fds.buffer),
  };
  if (logLevel === 0) {
    return withLog(() => ({ result: kernel.call("prog_load", request).result, needed: -1 }), 1);
  }
  return withLog((buffer) => {
    const reply = kernel.call("prog_load", {
      ...request,
      log_level: logLevel,
      log_size: buffer.length,
      log_buf: buffer,
    });
    return { result: reply.result, needed: reply.read("log_true_size") };
  });
}

function rejection(definition: ProgramDefinition, result: number, log: string): BpfError {
  const name = definition.name ?? definition.type;
  const where = { program: name };
  const reason = reasonOf(log);
  if (reason === "")
    return refusal(`program '${name}' (${definition.type}): the kernel refuses to load it`, result, where);
  return new VerifierError(
    `program '${name}' (${definition.type}): the kernel's verifier rejects it: ${nameOfErrno(result)}: ${reason}`,
    log,
    { errno: nameOfErrno(result), where },
  );
}

/** A program by its id; ids come from `objectIds`. */
export function openProgram(kernel: Kernel, id: number): KernelProgram {
  const { result } = kernel.call("prog_get_fd_by_id", { start_id: id });
  if (result < 0) throw refusal(`program with id ${id}`, result);
  return adoptProgram(kernel, result);
}

/** A program whose descriptor was got elsewhere (a pin); the descriptor becomes the program's. */
export function adoptProgram(kernel: Kernel, fd: number): KernelProgram {
  const handle = new Handle(kernel, fd);
  let info: ProgramInfo;
  try {
    info = programInfo(handle);
  } catch (error) {
    handle.close();
    throw error;
  }
  return new KernelProgram(kernel, fd, info, "");
}

/** The input of one test run; what is left out is not passed, since each program type refuses what it does not know. */
export interface TestRun {
  /** The packet. Types xdp, sched_cls, socket_filter and their kin need 14 bytes or more. */
  readonly data?: Uint8Array;
  /** The context: `struct __sk_buff`, `struct xdp_md`, the arguments of a raw tracepoint, ... */
  readonly context?: Uint8Array;
  /** Bytes of context wanted back when none goes in (not for xdp: an empty `xdp_md` there means an empty packet). */
  readonly contextSize?: number;
  /** Runs, default 1. The kernel does not reset the packet of an xdp program in between. */
  readonly repeat?: number;
  /** Bits of TEST_RUN_FLAGS. */
  readonly flags?: number;
  /** The CPU to run on (raw tracepoints; sets `run_on_cpu`). */
  readonly cpu?: number;
}

export interface TestRunResult {
  /** Unsigned 32 bits. */
  readonly returnValue: number;
  /** The packet afterwards; empty if none went in. */
  readonly data: Uint8Array;
  /** The context afterwards; empty if none was asked for. */
  readonly context: Uint8Array;
  /** Mean of all runs. */
  readonly durationNs: number;
}

/** Types whose test run takes no room for a context: of syscall programs it is written back to where it came from. */
const CONTEXT_IN_PLACE: readonly ProgramType[] = ["syscall", "raw_tracepoint", "struct_ops"];

/** Room for what a program may add to its packet: no type can grow one by more (17 pages of an xdp_buff). */
const GROWTH = 17 * 4096;

/** A program in the kernel. */
export class KernelProgram extends Handle {
  readonly name: string;
  readonly type: ProgramType;
  /** What the verifier wrote at load; empty at log level 0. */
  readonly log: string;
  #out: Uint8Array = new Uint8Array(0);

  constructor(
    kernel: Kernel,
    fd: number,
    { name, type }: { readonly name?: string; readonly type: ProgramType },
    log: string,
  ) {
    super(kernel, fd);
    this.name = name ?? "";
    this.type = type;
    this.log = log;
  }

  /** Id, tag, maps and sizes as the kernel has them. */
  info(): ProgramInfo {
    return programInfo(this);
  }

  /** The program after the verifier's rewriting, as `bpftool prog dump xlated` shows it. */
  xlated(): Instruction[] {
    return xlatedInstructions(this);
  }

  /** Keeps a map alive as long as the program, though no instruction names it. */
  bindMap(map: KernelMap): void {
    const { result } = this.kernel.call("prog_bind_map", { prog_fd: this.fd, map_fd: map.fd });
    if (result < 0)
      throw refusal(`program '${this.name}': map '${map.name}' cannot be bound`, result, {
        program: this.name,
      });
  }

  /**
   * Runs the program once or more often (BPF_PROG_TEST_RUN).
   *
   * @throws BpfError code "kernel", `errno` ENOTSUPP for program types that cannot be test-run, EINVAL for input that
   * the type does not take, EINTR if a signal ended a repeated run.
   */
  testRun({ data, context, contextSize, repeat, flags = 0, cpu }: TestRun = {}): TestRunResult {
    const inPlace = CONTEXT_IN_PLACE.includes(this.type);
    const contextIn = inPlace ? context?.slice() : context;
    const wanted = inPlace ? 0 : (context?.length ?? contextSize ?? 0);
    const contextOut = new Uint8Array(wanted);
    if (data !== undefined && this.#out.length < data.length + GROWTH) {
      this.#out = new Uint8Array(data.length + GROWTH);
    }
    for (;;) {
      const reply = this.kernel.call("prog_test_run", {
        prog_fd: this.fd,
        data_in: data,
        data_size_in: data?.length,
        data_out: data && this.#out,
        data_size_out: data && this.#out.length,
        ctx_in: contextIn,
        ctx_size_in: contextIn?.length,
        ctx_out: inPlace ? undefined : contextOut,
        ctx_size_out: wanted,
        repeat,
        flags: flags | (cpu === undefined ? 0 : TEST_RUN_FLAGS.run_on_cpu),
        cpu,
      });
      const size = reply.read("data_size_out");
      // Should a packet ever outgrow its room, the run counts for nothing and is repeated with more.
      if (reply.result === -28 && size > this.#out.length) {
        this.#out = new Uint8Array(size + GROWTH);
        continue;
      }
      if (reply.result < 0) {
        throw refusal(`program '${this.name}' (${this.type}): test run`, reply.result, {
          program: this.name,
        });
      }
      return {
        returnValue: reply.read("retval"),
        data: data === undefined ? new Uint8Array(0) : this.#out.slice(0, size),
        context: inPlace ? (contextIn ?? contextOut) : contextOut.subarray(0, reply.read("ctx_size_out")),
        durationNs: reply.read("duration"),
      };
    }
  }
}
