/** Everything that one verification works on (struct bpf_verifier_env): the program, what was found out, the current state. */
import type { Instruction } from "../isa/index.ts";
import type { ProgramType } from "../uapi/index.ts";
import type { VerifierMap, VerifierOptions, VerifierProgram } from "./input.ts";
import { Log } from "./log.ts";
import { Rejection, type RejectionErrno } from "./reject.ts";
import { type FunctionState, RegisterState, VerifierState } from "./state.ts";

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
  /** A call that may leave the function's straight line: a helper, kernel function or subprogram is called here. */
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
  /** Map of a call, for inlining: undefined, a map, or "poison". */
  callMap: VerifierMap | "poison" | undefined = undefined;
  /** Key of a tail call or lookup: undefined if unseen, a constant, or "poison". */
  callKey: number | "poison" | undefined = undefined;
  /** Bytes of a context field that is converted. */
  contextFieldSize = 0;
  /** bpf_loop: seen, its callback is always the same, and which. */
  loopInline: { fits: boolean; subprogram: number } | undefined = undefined;
}

/** How a type of argument of a global function was declared. */
export interface ArgumentInfo {
  readonly type: number;
  readonly memSize: number;
  readonly btfId: number;
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
}

/** A state kept at an instruction (struct bpf_verifier_state_list). */
export interface KeptState {
  readonly state: VerifierState;
  misses: number;
  hits: number;
}

export class Environment {
  readonly program: VerifierProgram;
  readonly options: VerifierOptions;
  readonly type: ProgramType;
  readonly instructions: readonly Instruction[];
  readonly log: Log;
  readonly aux: InstructionAux[];
  readonly gplCompatible: boolean;
  readonly strictAlignment: boolean;
  /** Functions by their place, and behind them one that begins where the program ends. */
  subprograms: Subprogram[] = [];
  subprogramCount = 0;
  exceptionCallback = 0;

  state: VerifierState = new VerifierState();
  /** The instruction under way, and the one before it. */
  index = 0;
  previous = 0;
  pending: PendingPath[] = [];
  readonly kept: (KeptState[] | undefined)[];

  idGenerator = 0;
  processed = 0;
  jumpsProcessed = 0;
  previousProcessed = 0;
  previousJumps = 0;
  totalStates = 0;
  peakStates = 0;
  maxStatesPerInstruction = 0;
  keptCount = 0;
  freedCount = 0;

  /** Registers and slots that changed since the state was printed. */
  scratchedRegisters = 0;
  scratchedLow = 0;
  scratchedHigh = 0;
  logPositionAtInstruction = 0;

  seenException = false;
  seenDirectWrite = false;
  changesPacketData = false;
  maxPacketOffset = 0;
  maxContextOffset = 0;
  maxTracepointAccess = 0;
  maxReadOnlyAccess = 0;
  maxReadWriteAccess = 0;

  readonly fakeRegister: RegisterState = new RegisterState();
  readonly otherFakeRegister: RegisterState = new RegisterState();

  constructor(program: VerifierProgram, options: VerifierOptions, gplCompatible: boolean) {
    this.program = program;
    this.options = options;
    this.type = program.type;
    this.instructions = program.instructions;
    this.log = new Log(options.logLevel ?? 1);
    this.aux = Array.from(program.instructions, () => new InstructionAux());
    this.kept = new Array<KeptState[] | undefined>(program.instructions.length);
    this.gplCompatible = gplCompatible;
    this.strictAlignment = (options.strictAlignment ?? false) && !(options.anyAlignment ?? false);
  }

  verbose(text: string): void {
    this.log.write(text);
  }

  /** The error to throw: `throw env.reject("EACCES", "R1 !read_ok")`. The message becomes a line of the log. */
  reject(errno: RejectionErrno, message?: string): Rejection {
    if (message !== undefined && message !== "") this.log.write(`${message}\n`);
    return new Rejection(errno);
  }

  /** For what this verifier does not know yet. Never let such a construct pass. */
  unsupported(what: string): Rejection {
    this.log.write(`${what}: not supported by this verifier yet\n`);
    return new Rejection("EOPNOTSUPP");
  }

  /** For what cannot happen. */
  bug(what: string): Rejection {
    this.log.write(`verifier bug: ${what}\n`);
    return new Rejection("EFAULT");
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
