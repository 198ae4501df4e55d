/** Questions about single instructions that several passes ask. */
import { CLASSES, type Instruction, OPCODE_LDDW } from "../isa/index.ts";

export const CALL = 0x85;
export const EXIT = 0x95;
/** JMP | JCOND: may_goto. */
export const MAY_GOTO = 0xe5;
export const GOTO = 0x05;
export const GOTO_LONG = 0x06;

export const PSEUDO_MAP_FD = 1;
export const PSEUDO_MAP_VALUE = 2;
export const PSEUDO_BTF_ID = 3;
export const PSEUDO_FUNC = 4;
export const PSEUDO_MAP_IDX = 5;
export const PSEUDO_MAP_IDX_VALUE = 6;

/** `src` of a call. */
export const PSEUDO_CALL = 1;
export const PSEUDO_KFUNC_CALL = 2;

export const HELPER = {
  tail_call: 12,
  spin_lock: 93,
  spin_unlock: 94,
  for_each_map_elem: 164,
  timer_set_callback: 170,
  find_vma: 180,
  loop: 181,
  user_ringbuf_drain: 209,
} as const;

const SYNC_CALLBACKS: ReadonlySet<number> = new Set([
  HELPER.for_each_map_elem,
  HELPER.find_vma,
  HELPER.loop,
  HELPER.user_ringbuf_drain,
]);

export function isJump({ opcode }: Instruction): boolean {
  const cls = opcode & 7;
  return cls === CLASSES.jmp || cls === CLASSES.jmp32;
}

export function isHelperCall({ opcode, src }: Instruction): boolean {
  return opcode === CALL && src === 0;
}

export function isPseudoCall({ opcode, src }: Instruction): boolean {
  return opcode === CALL && src === PSEUDO_CALL;
}

export function isKfuncCall({ opcode, src }: Instruction): boolean {
  return opcode === CALL && src === PSEUDO_KFUNC_CALL;
}

export function isPseudoFunction({ opcode, src }: Instruction): boolean {
  return opcode === OPCODE_LDDW && src === PSEUDO_FUNC;
}

export function isMayGoto({ opcode, src }: Instruction): boolean {
  return opcode === MAY_GOTO && src === 0;
}

/** Helpers that run a callback before they return. */
export function helperCallsCallbackAtOnce(instruction: Instruction): boolean {
  return isHelperCall(instruction) && SYNC_CALLBACKS.has(instruction.imm);
}

/** Helpers that hand over a callback for later. */
export function helperCallsCallbackLater(instruction: Instruction): boolean {
  return isHelperCall(instruction) && instruction.imm === HELPER.timer_set_callback;
}

/** How far a jump goes (bpf_jmp_offset). */
export function jumpDistance({ opcode, offset, imm }: Instruction): number {
  return opcode === GOTO_LONG ? imm : offset;
}
