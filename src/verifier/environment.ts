/** Everything that one verification works on (struct bpf_verifier_env): the program, what was found out, the current state. */
import type { Btf } from "../btf/index.ts";
import type { Instruction } from "../isa/index.ts";
import type { ProgramType } from "../uapi/index.ts";
import type { VerifierAbility } from "./abilities.ts";
import type { Capability, VerifierMap, VerifierOptions, VerifierProgram } from "./input.ts";
import { Log } from "./log.ts";
import type { LoopVisit } from "./loops.ts";
import { Backtrack } from "./backtrack.ts";
import { PathLog } from "./path-log.ts";
import { StackLiveness } from "./stack-liveness.ts";
import type { Tracer } from "./trace.ts";
import { Rejection, type RejectionErrno } from "./reject.ts";
import {
  type FunctionState,
  type JumpRecord,
  type KeptState,
  RegisterState,
  VerifierState,
} from "./state.ts";

/** What is known of one instruction slot besides its state (struct bpf_insn_aux_data). */
export class InstructionAux {
  /** States are compared and kept here. */
  prunePoint = false;
  /** The way here may not be straight: the jump history records it. */
  jumpPoint = false;
  /** A state is kept here whatever the heuristics say. */
  forceCheckpoint = false;
  /** A call that runs a callback at once. */
  callsCallback = false;
  /** A call of an iterator's `next`. */
  isIterNext = false;
  seen = false;
  /** Bit n: register n may be read from here on before it is written. */
  liveRegisters = 0;
  /** Number of the strongly connected component; 0: in none. */
  component = 0;
  fastcallPattern = false;
  fastcallSpills = 0;
  /** Which pointer type a load or store went through, to find mixtures. */
  pointerType = 0;
  /** Map of an `lddw`, and the offset in its value. */
  map: VerifierMap | undefined = undefined;
  mapOffset = 0;
  /** Variable of the kernel of an `lddw`. */
  variable: KernelVariable | undefined = undefined;
  /** Map of a call, for inlining: undefined, a map, or "poison". */
  callMap: VerifierMap | "poison" | undefined = undefined;
  /** Key of a tail call or lookup: undefined if unseen, a constant, or "poison". */
  callKey: number | "poison" | undefined = undefined;
  /** Bytes of a context field that is converted. */
  contextFieldSize = 0;
  /** Nothing runs from here on speculatively (a barrier comes before the instruction). */
  barrierBefore = false;
  /** A barrier comes after the instruction: what it stored must not be read in an older form. */
  barrierAfter = false;
  /** How arithmetic on a pointer is masked; 0: not at all. And the largest offset. */
  maskState = 0;
  maskLimit = 0;
  /** bpf_loop: seen, its callback is always the same, and which. */
  loopInline: { fits: boolean; subprogram: number } | undefined = undefined;
}

/** A variable of the kernel: a structure, or memory that may be read. */
export interface KernelVariable {
  readonly type: number;
  readonly btf: Btf | undefined;
  readonly btfId: number;
  readonly memSize: number;
}

/** What a global function's BTF says of an argument (struct bpf_subprog_arg_info). */
export interface ArgumentInfo {
  readonly kind: "scalar" | "context" | "memory" | "dynptr" | "struct" | "arena";
  readonly nullable: boolean;
  /** Bytes behind a pointer to memory. */
  readonly memSize: number;
  /** It may be any address: reads through it are checked when they happen. */
  readonly untrusted: boolean;
  /** The kernel's structure. */
  readonly structId: number;
}

/** One function of the program (struct bpf_subprog_info). */
export class Subprogram {
  start: number;
  /** BTF func name; "" without BTF. */
  name = "";
  linkage: "static" | "global" | "extern" = "static";
  stackDepth = 0;
  fastcallStackOffset = 0;
  keepFastcallStack = false;
  hasTailCall = false;
  tailCallReachable = false;
  hasLoadAbs = false;
  isCallback = false;
  isAsyncCallback = false;
  isExceptionCallback = false;
  changesPacketData = false;
  mightSleep = false;
  /** It, or what it calls, may end the program by an exception. */
  mightThrow = false;
  argumentsCached = false;
  arguments: readonly ArgumentInfo[] = [];
  /** A global function that something calls, or its BTF says that it must not be trusted. */
  called = false;
  verified = false;
  unreliable = false;
  /** Range of the function's instructions in the postorder. */
  postorderStart = 0;

  constructor(start: number) {
    this.start = start;
  }
}

/** A path that waits (struct bpf_verifier_stack_elem). */
export interface PendingPath {
  readonly state: VerifierState;
  readonly index: number;
  readonly previous: number;
  readonly logPosition: number;
  /** The path that it branches from: `path-log.ts`. */
  readonly from: number;
}

export class Environment {
  readonly program: VerifierProgram;
  readonly options: VerifierOptions;
  readonly type: ProgramType;
  readonly instructions: readonly Instruction[];
  readonly log: Log;
  readonly pathLog: PathLog;
  readonly aux: InstructionAux[];
  readonly gplCompatible: boolean;
  readonly strictAlignment: boolean;
  /** CAP_BPF: loops, functions, and marks of precision. */
  readonly hasBpf: boolean;
  /** CAP_PERFMON: addresses may leak, stack that nobody wrote may be read, speculation is not followed. */
  readonly hasPerfmon: boolean;
  /** Numbers are compared exactly from now on: arithmetic on pointers is masked by what was seen (explore_alu_limits). */
  exploreLimits = false;
  /** A program that takes the place of a function of another one, whose type it has: `extension.ts`. */
  readonly isExtension: boolean;
  /** Functions by their place, and behind them one that begins where the program ends. */
  subprograms: Subprogram[] = [];
  subprogramCount = 0;
  exceptionCallback = 0;

  state: VerifierState = new VerifierState();
  /** The instruction under way, and the one before it. */
  index = 0;
  previous = 0;
  pending: PendingPath[] = [];
  /** Kept states in buckets, the newest last: see `bucketOf` of `prune.ts`. */
  kept: (KeptState[] | undefined)[];
  /** The entry of the jump history that the current instruction has made. */
  historyRecord: JumpRecord | undefined = undefined;

  /**
   * Numbers that do not matter are compared too, so that every run's lie in those of some visit that was walked. For recorded states;
   * the kernel's walk is shorter.
   */
  keepsRanges = false;
  /** Called before each instruction of each path, if somebody wants to see the states. */
  record: ((env: Environment) => void) | undefined = undefined;
  /** Sees the walk, if somebody wants to know which way it went. */
  tracer: Tracer | undefined = undefined;

  idGenerator = 0;
  processed = 0;
  jumpsProcessed = 0;
  previousProcessed = 0;
  previousJumps = 0;
  totalStates = 0;
  peakStates = 0;
  maxStatesPerInstruction = 0;
  keptCount = 0;
  evictedCount = 0;
  backEdgeCount = 0;

  /** Registers and slots that changed since the state was printed. */
  scratchedRegisters = 0;
  scratchedLow = 0;
  scratchedHigh = 0;
  /** Where the log stood after the last instruction was printed, and how long its text is. */
  instructionEnd = 0;
  instructionLength = 0;
  /** The source line that was printed last: an index of the program's lines. */
  lastLine = -1;
  /** Slots of all functions in postorder. */
  postorder: Int32Array = new Int32Array(0);
  /** Two entries a slot: see `cfg.ts`. */
  successors: Int32Array = new Int32Array(0);

  seenException = false;
  seenDirectWrite = false;
  changesPacketData = false;
  /** The arena that the program uses. */
  arena: VerifierMap | undefined = undefined;
  maxPacketOffset = 0;
  maxContextOffset = 0;
  maxTracepointAccess = 0;
  maxReadOnlyAccess = 0;
  maxReadWriteAccess = 0;

  /** Abilities that older verifiers lack, and that decided something. */
  readonly abilities: Set<VerifierAbility> = new Set();

  readonly liveness: StackLiveness;
  readonly backtrack: Backtrack = new Backtrack();
  /** Visits of loops: see `loops.ts`. */
  loopVisits: Map<string, LoopVisit> = new Map();
  /** Old ids and new ones while states are compared, in turns; and the next temporary id. */
  readonly idPairs: number[] = [];
  temporaryId = 0;
  readonly fakeRegister: RegisterState = new RegisterState();
  readonly otherFakeRegister: RegisterState = new RegisterState();

  constructor(program: VerifierProgram, options: VerifierOptions, gplCompatible: boolean, pathLog: PathLog) {
    this.program = program;
    this.options = options;
    this.isExtension = program.extends !== undefined;
    this.type = program.type;
    this.instructions = program.instructions;
    this.log = new Log(options.logLevel ?? 1);
    this.pathLog = pathLog;
    this.liveness = new StackLiveness(this);
    this.aux = Array.from(program.instructions, () => new InstructionAux());
    this.kept = new Array<KeptState[] | undefined>(program.instructions.length);
    this.gplCompatible = gplCompatible;
    this.hasBpf = this.may("bpf");
    this.hasPerfmon = this.may("perfmon");
    this.strictAlignment = (options.strictAlignment ?? false) && !(options.anyAlignment ?? false);
  }

  may(capability: Capability): boolean {
    return this.options.capabilities?.includes(capability) ?? true;
  }

  verbose(text: string): void {
    this.log.write(text);
  }

  /** The error to throw: `throw env.reject("EACCES", "R1 !read_ok")`. The message becomes a line of the log. */
  reject(errno: RejectionErrno, message?: string): Rejection {
    if (message !== undefined && message !== "") this.log.write(`${message}\n`);
    return new Rejection(errno, message ?? "");
  }

  /** For what this verifier does not know yet. Never let such a construct pass. */
  unsupported(what: string): Rejection {
    const message = `${what}: not supported by this verifier yet`;
    this.log.write(`${message}\n`);
    return new Rejection("EOPNOTSUPP", message);
  }

  /** For what cannot happen. */
  bug(what: string): Rejection {
    this.log.write(`verifier bug: ${what}\n`);
    return new Rejection("EFAULT", "");
  }

  /** Name of a kernel function, for texts. */
  kfuncName(id: number): string {
    const { kernelBtf } = this.program;
    if (kernelBtf === undefined || id < 0 || id >= kernelBtf.count) return "<error>";
    return kernelBtf.type(id).name;
  }

  /** Arenas lie at a known address for user space; addresses of maps are nothing for those without CAP_PERFMON. */
  addressAt(index: number): bigint | undefined {
    const { map, mapOffset } = this.aux[index] as InstructionAux;
    if (map !== undefined && !this.hasPerfmon) return 0n;
    return map?.type === "arena" ? (map.extra ?? 0n) + BigInt(mapOffset) : undefined;
  }

  get instruction(): Instruction {
    return this.instructions[this.index] as Instruction;
  }

  get currentAux(): InstructionAux {
    return this.aux[this.index] as InstructionAux;
  }

  get frame(): FunctionState {
    return this.state.frames[this.state.frames.length - 1] as FunctionState;
  }

  get registers(): RegisterState[] {
    return this.frame.registers;
  }

  nextId(): number {
    return ++this.idGenerator;
  }
}
