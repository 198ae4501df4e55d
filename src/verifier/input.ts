/** What a verification starts from: the program and what the kernel would know around it. All of it is plain data. */
import type { Btf, FunctionInfo, LineInfo } from "../btf/index.ts";
import type { Instruction } from "../isa/index.ts";
import type { AttachType, MapType, ProgramType } from "../uapi/index.ts";
import type { VerifierAbility } from "./abilities.ts";
import type { TraceOptions } from "./trace.ts";

/** A map as the verifier sees it. Registers point to these objects: two maps are the same if they are the same object. */
export interface VerifierMap {
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_... bits of map creation. */
  readonly flags: number;
  /** map_extra of map creation: of an arena its address for user space. */
  readonly extra?: bigint;
  /** Its BTF, and the types of key and value in it. */
  readonly btf?: Btf | undefined;
  readonly key?: number | undefined;
  readonly value?: number | undefined;
  /** Nobody can write it any more: the bytes of a map with one element are constants (BPF_F_RDONLY_PROG too). */
  readonly frozen?: boolean;
  /** The value of a frozen array of one element. */
  readonly contents?: Uint8Array | undefined;
  /** Of maps of maps: a map as those that it holds. */
  readonly inner?: VerifierMap | undefined;
}

/** A program, linked: instructions from all its functions, the entry first. */
export interface VerifierProgram {
  readonly name: string;
  readonly type: ProgramType;
  readonly attachType?: AttachType | undefined;
  /** References to maps have the kernel's `src` (1, 2, 5, 6); `maps` says which map is meant. */
  readonly instructions: readonly Instruction[];
  /** By slot of the `lddw`. */
  readonly maps: ReadonlyMap<number, VerifierMap>;
  /** The text of the licence; the kernel's list decides whether it is compatible with the GPL. */
  readonly license: string;
  readonly sleepable?: boolean;
  /** XDP with packets in several buffers. */
  readonly frags?: boolean;
  readonly btf?: Btf | undefined;
  /** The kernel's own types (vmlinux). Without them what needs them is "not supported". */
  readonly kernelBtf?: Btf | undefined;
  /** Addresses of the kernel's symbols (kallsyms); default: all that its types name have one, which is not known. */
  readonly symbols?: ReadonlyMap<string, bigint> | undefined;
  /** Wide constants whose value is not known, by slot: what they are. */
  readonly unknown?: ReadonlyMap<number, string> | undefined;
  /** What it attaches to: "sched_switch" of a tracepoint with BTF, "task" of an iterator. */
  readonly attachTo?: string | undefined;
  /** The method of a struct_ops: its structure in the kernel's BTF, and the member's index. */
  readonly structOps?: { readonly struct: number; readonly member: number } | undefined;
  /** Of an extension (freplace): the program that it extends; `attachTo` is the function that it replaces. */
  readonly extends?: VerifierProgram | undefined;
  readonly functionInfo?: readonly FunctionInfo[];
  /** BTF ids of functions that are global in BTF and are verified like static ones: `__hidden`, which libbpf tells the kernel so. */
  readonly hidden?: ReadonlySet<number>;
  readonly lines?: readonly LineInfo[];
}

/** Capabilities that decide what a program may do: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN. */
export type Capability = "bpf" | "perfmon" | "net_admin";

/** How to verify. */
export interface VerifierOptions {
  /** 0: no log, 1: the path that fails, 2: every path; +4: statistics. Default 1. */
  readonly logLevel?: number;
  /** BPF_F_STRICT_ALIGNMENT: natural alignment everywhere. Default false: as on x86. */
  readonly strictAlignment?: boolean;
  /** BPF_F_ANY_ALIGNMENT: none checked, whatever the machine. */
  readonly anyAlignment?: boolean;
  /** BPF_F_TEST_STATE_FREQ: a state at every instruction that can have one. */
  readonly testStateFrequency?: boolean;
  /** BPF_F_TEST_REG_INVARIANTS: contradictory bounds are an error. */
  readonly testRegisterInvariants?: boolean;
  /**
   * What the loading process may; default: everything. None at all is an unprivileged user, where sysctl
   * kernel.unprivileged_bpf_disabled is 0. Without "perfmon" addresses must not leak, and speculative execution is followed too.
   */
  readonly capabilities?: readonly Capability[];
  /** Refuse what Linux 6.18 is known to accept wrongly (docs/verifier.md has the list), as loading does. Default: Linux's verdict. */
  readonly sound?: boolean;
  /** Judge as a verifier that lacks these, as older kernels do. Default: none is lacking. */
  readonly without?: ReadonlySet<VerifierAbility>;
  /** How many CPUs the machine can have: what bpf_get_smp_processor_id returns is below. Default: the most that any can. */
  readonly cpus?: number;
  /** Keep what was known before each instruction, at every visit: {@link VerifierResult.states}. Default false. */
  readonly recordStates?: boolean;
  /** Keep which way the walk took, and the states of chosen visits: {@link VerifierResult.trace}. */
  readonly trace?: TraceOptions;
  /** Asked now and then; true ends the verification with {@link VerifierResult.cancelled}. */
  readonly cancelled?: () => boolean;
  /** Called now and then with the number of instructions processed. */
  readonly progress?: (processed: number) => void;
}
