/**
 * The abstract state of a program: registers, stack slots, frames, references. Flat objects with all fields set from the
 * start, so that the engine keeps one hidden class for each, and copies written out by hand: copying states is what a
 * verifier does most. The numbers of a register are one small integer, `scalar`, that names an interned value of `scalar/`.
 *
 * Fields are those of struct bpf_reg_state, bpf_stack_state, bpf_func_state and bpf_verifier_state of Linux 6.18.
 */
import type { Btf } from "../btf/index.ts";
import type { VerifierMap } from "./input.ts";
import { NOT_INIT, PTR_TO_STACK } from "./register-types.ts";
import { UNKNOWN, ZERO } from "./scalar/index.ts";

export const MAX_CALL_FRAMES = 8;
export const MAX_BPF_STACK = 512;
/** Bytes of a register, of a stack slot. */
export const REG_SIZE = 8;
export const REGISTERS = 11;

/** Set in `id` of a scalar that is a linked one plus the constant `off`, by a 64-bit or a 32-bit addition. */
export const BPF_ADD_CONST64: number = 0x80000000 | 0;
export const BPF_ADD_CONST32 = 0x40000000;
export const BPF_ADD_CONST: number = BPF_ADD_CONST64 | BPF_ADD_CONST32;

/** `subregDef` of a register whose upper half nobody defined by a 32-bit instruction. */
export const DEF_NOT_SUBREG = 0;

/**
 * What few registers have: where special pointers point, what special slots hold. Never changed once made, so that copies of
 * registers share it and copying or comparing one is a single reference; most registers have {@link NO_DETAIL}.
 */
export interface RegisterDetail {
  /** Map pointers, values and keys. */
  readonly map: VerifierMap | undefined;
  /** Tells apart inner maps that came from different lookups. */
  readonly mapUid: number;
  /** PTR_TO_MEM, and what has `mem_size` in the kernel's union. */
  readonly memSize: number;
  readonly dynptrId: number;
  /** PTR_TO_BTF_ID, iterators. */
  readonly btf: Btf | undefined;
  readonly btfId: number;
  /** PTR_TO_FUNC. */
  readonly subprogno: number;
  /** Dynptr slots. */
  readonly dynptrType: number;
  readonly dynptrFirstSlot: boolean;
  /** Iterator slots. */
  readonly iterState: number;
  readonly iterDepth: number;
  /** IRQ flag slots. */
  readonly irqKfuncClass: number;
}

export const NO_DETAIL: RegisterDetail = {
  map: undefined,
  mapUid: 0,
  memSize: 0,
  dynptrId: 0,
  btf: undefined,
  btfId: 0,
  subprogno: 0,
  dynptrType: 0,
  dynptrFirstSlot: false,
  iterState: 0,
  iterDepth: 0,
  irqKfuncClass: 0,
};

/**
 * What a register, or a spilled one, holds. Ten fields are its own; setting one of the others makes a new detail. (With all
 * twenty-one in each register a walk spent a third of its time collecting garbage.)
 */
export class RegisterState {
  /** Base type and flags: `register-types.ts`. */
  type: number = NOT_INIT;
  /** Fixed part of a pointer's offset; of a linked scalar its distance to the others. Signed 32 bits. */
  off: number = 0;
  /** Value of a number, variable part of a pointer's offset: a name of `scalar/`. */
  scalar: number = UNKNOWN;
  /** Packet pointers: bytes from the pointer that may be accessed; negative: AT_PKT_END, BEYOND_PKT_END. */
  range: number = 0;
  detail: RegisterDetail = NO_DETAIL;
  /** Which registers are the same value, or the same nullable pointer. Signed 32 bits: flags of linked numbers at the top. */
  id: number = 0;
  refObjId: number = 0;
  /** PTR_TO_STACK: whose stack. */
  frameno: number = 0;
  /** Slot index + 1 of the instruction that wrote the lower half alone. */
  subregDef: number = DEF_NOT_SUBREG;
  precise: boolean = false;

  get map(): VerifierMap | undefined {
    return this.detail.map;
  }
  set map(map: VerifierMap | undefined) {
    if (this.detail.map !== map) this.detail = { ...this.detail, map };
  }
  get mapUid(): number {
    return this.detail.mapUid;
  }
  set mapUid(mapUid: number) {
    if (this.detail.mapUid !== mapUid) this.detail = { ...this.detail, mapUid };
  }
  get memSize(): number {
    return this.detail.memSize;
  }
  set memSize(memSize: number) {
    if (this.detail.memSize !== memSize) this.detail = { ...this.detail, memSize };
  }
  get dynptrId(): number {
    return this.detail.dynptrId;
  }
  set dynptrId(dynptrId: number) {
    if (this.detail.dynptrId !== dynptrId) this.detail = { ...this.detail, dynptrId };
  }
  get btf(): Btf | undefined {
    return this.detail.btf;
  }
  set btf(btf: Btf | undefined) {
    if (this.detail.btf !== btf) this.detail = { ...this.detail, btf };
  }
  get btfId(): number {
    return this.detail.btfId;
  }
  set btfId(btfId: number) {
    if (this.detail.btfId !== btfId) this.detail = { ...this.detail, btfId };
  }
  get subprogno(): number {
    return this.detail.subprogno;
  }
  set subprogno(subprogno: number) {
    if (this.detail.subprogno !== subprogno) this.detail = { ...this.detail, subprogno };
  }
  get dynptrType(): number {
    return this.detail.dynptrType;
  }
  set dynptrType(dynptrType: number) {
    if (this.detail.dynptrType !== dynptrType) this.detail = { ...this.detail, dynptrType };
  }
  get dynptrFirstSlot(): boolean {
    return this.detail.dynptrFirstSlot;
  }
  set dynptrFirstSlot(dynptrFirstSlot: boolean) {
    if (this.detail.dynptrFirstSlot !== dynptrFirstSlot) this.detail = { ...this.detail, dynptrFirstSlot };
  }
  get iterState(): number {
    return this.detail.iterState;
  }
  set iterState(iterState: number) {
    if (this.detail.iterState !== iterState) this.detail = { ...this.detail, iterState };
  }
  get iterDepth(): number {
    return this.detail.iterDepth;
  }
  set iterDepth(iterDepth: number) {
    if (this.detail.iterDepth !== iterDepth) this.detail = { ...this.detail, iterDepth };
  }
  get irqKfuncClass(): number {
    return this.detail.irqKfuncClass;
  }
  set irqKfuncClass(irqKfuncClass: number) {
    if (this.detail.irqKfuncClass !== irqKfuncClass) this.detail = { ...this.detail, irqKfuncClass };
  }
}

/** `to` becomes `from`. */
export function copyRegister(to: RegisterState, from: RegisterState): void {
  to.type = from.type;
  to.off = from.off;
  to.scalar = from.scalar;
  to.range = from.range;
  to.detail = from.detail;
  to.id = from.id;
  to.refObjId = from.refObjId;
  to.frameno = from.frameno;
  to.subregDef = from.subregDef;
  to.precise = from.precise;
}

export function cloneRegister(from: RegisterState): RegisterState {
  const to = new RegisterState();
  copyRegister(to, from);
  return to;
}

/** All fields but `frameno`, `subregDef` and `precise` as in a new register (the kernel's memset up to `var_off`). */
export function clearRegister(reg: RegisterState): void {
  reg.off = 0;
  reg.range = 0;
  reg.detail = NO_DETAIL;
}

/** Whether special pointers and slots are the same, but for the class of interrupt flags. */
export function sameDetail(a: RegisterState, b: RegisterState): boolean {
  const { detail } = a;
  const other = b.detail;
  return (
    detail === other ||
    (detail.map === other.map &&
      detail.mapUid === other.mapUid &&
      detail.memSize === other.memSize &&
      detail.dynptrId === other.dynptrId &&
      detail.btf === other.btf &&
      detail.btfId === other.btfId &&
      detail.subprogno === other.subprogno &&
      detail.dynptrType === other.dynptrType &&
      detail.dynptrFirstSlot === other.dynptrFirstSlot &&
      detail.iterState === other.iterState &&
      detail.iterDepth === other.iterDepth)
  );
}

/** Types of a stack byte (enum bpf_stack_slot_type). */
export const STACK_INVALID = 0;
export const STACK_SPILL = 1;
export const STACK_MISC = 2;
export const STACK_ZERO = 3;
export const STACK_DYNPTR = 4;
export const STACK_ITER = 5;
export const STACK_IRQ_FLAG = 6;

/** Eight bytes of one type in {@link StackSlot.types}. */
export function allOf(type: number): number {
  return Math.imul(type, 0x11111111);
}

/**
 * Eight bytes of stack. The types of the bytes are packed, four bits each, byte 0 in the lowest: copying and comparing a
 * slot is then one number instead of eight.
 *
 * Copies of a frame share its slots, since most are never written again: who changes one asks {@link ownSlot} for it first.
 */
export class StackSlot {
  spilled: RegisterState;
  types: number;
  /** {@link FunctionState.owner} of the frame that may change it. */
  readonly owner: number;

  constructor(spilled: RegisterState, types: number, owner: number) {
    this.spilled = spilled;
    this.types = types;
    this.owner = owner;
  }
}

/** Nothing was ever written here. Belongs to nobody. */
export const EMPTY_SLOT: StackSlot = new StackSlot(new RegisterState(), 0, 0);

let lastOwner = 0;

/** A slot of a frame, to be changed. */
export function ownSlot(frame: FunctionState, number: number): StackSlot {
  const slot = frame.stack[number] as StackSlot;
  if (slot.owner === frame.owner) return slot;
  const own = new StackSlot(cloneRegister(slot.spilled), slot.types, frame.owner);
  frame.stack[number] = own;
  return own;
}

/** Type of byte `index` (0 to 7): byte 7 is the lowest address, where a spilled register begins. */
export function slotType(slot: StackSlot, index: number): number {
  return (slot.types >>> (index * 4)) & 15;
}

export function setSlotType(slot: StackSlot, index: number, type: number): void {
  slot.types = (slot.types & ~(15 << (index * 4))) | (type << (index * 4));
}

/** Whether a register, or the lower part of one, lies in the slot: its last byte tells. */
export function isSpilled(slot: StackSlot): boolean {
  return slot.types >>> 28 === STACK_SPILL;
}

/** A reference that must be given back (struct bpf_reference_state). */
export interface Reference {
  readonly kind: "pointer" | "irq" | "lock" | "res_lock" | "res_lock_irq";
  readonly id: number;
  /** Where it was acquired. */
  readonly index: number;
  /** Locks: the map value or object that has the lock. */
  readonly pointer: unknown;
}

/** Bounds of what a function may return, signed. */
export interface ReturnRange {
  readonly min: number;
  readonly max: number;
  readonly is32: boolean;
}

const ANY_RANGE: ReturnRange = { min: 0, max: 0, is32: false };

/** One call frame. */
export class FunctionState {
  registers: RegisterState[];
  /** Slot index of the call; -1 of the main program. */
  callsite: number;
  frameno: number;
  subprogno: number;
  asyncEntryCount: number = 0;
  callbackReturnRange: ReturnRange = ANY_RANGE;
  inCallback: boolean = false;
  inAsyncCallback: boolean = false;
  inExceptionCallback: boolean = false;
  /** How often the callback that this frame calls was simulated. */
  callbackDepth: number = 0;
  /** `stack[0]` holds fp-8 to fp-1. Its length is what has been touched. */
  stack: StackSlot[] = [];
  /** Slots with this number are its own; it gets a new one with every copy, so all are shared then. */
  owner: number = ++lastOwner;

  constructor(callsite: number, frameno: number, subprogno: number, registers: RegisterState[]) {
    this.callsite = callsite;
    this.frameno = frameno;
    this.subprogno = subprogno;
    this.registers = registers;
  }
}

/** A frame at its beginning: nothing but r10 is set (init_func_state). */
export function createFunctionState(callsite: number, frameno: number, subprogno: number): FunctionState {
  const registers: RegisterState[] = [];
  for (let index = 0; index < REGISTERS; index++) {
    const reg = new RegisterState();
    reg.frameno = frameno;
    registers.push(reg);
  }
  const fp = registers[10] as RegisterState;
  fp.type = PTR_TO_STACK;
  fp.scalar = ZERO;
  return new FunctionState(callsite, frameno, subprogno, registers);
}

export function cloneFunctionState(from: FunctionState): FunctionState {
  const registers = new Array<RegisterState>(REGISTERS);
  for (let index = 0; index < REGISTERS; index++) {
    registers[index] = cloneRegister(from.registers[index] as RegisterState);
  }
  const to = new FunctionState(from.callsite, from.frameno, from.subprogno, registers);
  to.asyncEntryCount = from.asyncEntryCount;
  to.callbackReturnRange = from.callbackReturnRange;
  to.inCallback = from.inCallback;
  to.inAsyncCallback = from.inAsyncCallback;
  to.inExceptionCallback = from.inExceptionCallback;
  to.callbackDepth = from.callbackDepth;
  to.stack = from.stack.slice();
  from.owner = ++lastOwner;
  return to;
}

/** One entry of the jump history (struct bpf_jmp_history_entry). */
export interface JumpRecord {
  readonly index: number;
  readonly previous: number;
  /** INSN_F_... of `history.ts`. */
  flags: number;
  /** Registers and slots that were compared together: `history.ts`. */
  linked: readonly number[];
}

/** A state kept at an instruction (struct bpf_verifier_state_list). */
export interface KeptState {
  readonly state: VerifierState;
  misses: number;
  hits: number;
  /** Taken out of its list, but a child is still under way. */
  evicted: boolean;
}

/** The state of the program before one instruction. */
export class VerifierState {
  /** `frames[0]` is the main program's. */
  frames: FunctionState[] = [];
  parent: VerifierState | undefined = undefined;
  /** Paths from here that are not explored yet; see `prune.ts`. */
  branches: number = 1;
  index: number = 0;
  references: readonly Reference[] = [];
  activeLocks: number = 0;
  activePreemptLocks: number = 0;
  activeIrqId: number = 0;
  activeLockId: number = 0;
  activeLockPointer: unknown = undefined;
  activeRcuLocks: number = 0;
  inSleepable: boolean = false;
  /** This way is taken only by a processor that guesses wrong. */
  speculative: boolean = false;
  cleaned: boolean = false;
  firstIndex: number = 0;
  lastIndex: number = 0;
  equalState: VerifierState | undefined = undefined;
  /** Jumps, calls and stack accesses since `firstIndex`, for walking back (`history.ts`). */
  history: JumpRecord[] = [];
  /** The list entry of a state that was kept. */
  kept: KeptState | undefined = undefined;
  dfsDepth: number = 0;
  callbackUnrollDepth: number = 0;
  mayGotoDepth: number = 0;
}

/** A copy that shares nothing that changes. References are never changed in place, so they are shared. */
export function copyState(to: VerifierState, from: VerifierState): void {
  const frames = new Array<FunctionState>(from.frames.length);
  for (let index = 0; index < from.frames.length; index++) {
    frames[index] = cloneFunctionState(from.frames[index] as FunctionState);
  }
  to.frames = frames;
  to.parent = from.parent;
  to.branches = from.branches;
  to.index = from.index;
  to.references = from.references;
  to.activeLocks = from.activeLocks;
  to.activePreemptLocks = from.activePreemptLocks;
  to.activeIrqId = from.activeIrqId;
  to.activeLockId = from.activeLockId;
  to.activeLockPointer = from.activeLockPointer;
  to.activeRcuLocks = from.activeRcuLocks;
  to.inSleepable = from.inSleepable;
  to.speculative = from.speculative;
  to.cleaned = from.cleaned;
  to.firstIndex = from.firstIndex;
  to.lastIndex = from.lastIndex;
  to.equalState = from.equalState;
  to.history = from.history.slice();
  to.dfsDepth = from.dfsDepth;
  to.callbackUnrollDepth = from.callbackUnrollDepth;
  to.mayGotoDepth = from.mayGotoDepth;
}

/** Changes every register of every frame that is meant, spilled ones included (bpf_for_each_reg_in_vstate). */
export function changeRegisters(
  state: VerifierState,
  isMeant: (reg: RegisterState) => boolean,
  change: (reg: RegisterState) => void,
): void {
  for (const frame of state.frames) {
    for (const reg of frame.registers) if (isMeant(reg)) change(reg);
    const { stack } = frame;
    for (let number = 0; number < stack.length; number++) {
      const slot = stack[number] as StackSlot;
      if (isSpilled(slot) && isMeant(slot.spilled)) change(ownSlot(frame, number).spilled);
    }
  }
}
