/**
 * Arithmetic on pointers of programs without CAP_PERFMON (sanitize_ptr_alu, sanitize_val_alu and sanitize_check_bounds of
 * kernel/bpf/verifier.c).
 *
 * A processor that guesses wrong adds numbers to pointers that no check has let pass. So the kernel puts a mask before each addition of
 * a register: a number beyond what was proved becomes 0. For that, the pointer must stay inside of what it points to, the direction must be
 * known, and all ways to the instruction must agree on the largest distance. What happens with the 0 is followed as a way of its own.
 */
import { checkMapValue } from "./access/map-value.ts";
import type { Instruction } from "../isa/index.ts";
import type { Environment } from "./environment.ts";
import type { VerifierMap } from "./input.ts";
import { pushPath } from "./paths.ts";
import { PTR_TO_MAP_VALUE, PTR_TO_STACK } from "./register-types.ts";
import { Rejection } from "./reject.ts";
import {
  ZERO,
  constantNumber,
  isConstant,
  partsOf,
  pointerAdd,
  smax,
  smin,
  tnumText,
  umax,
} from "./scalar/index.ts";
import { MAX_BPF_STACK, type RegisterState, cloneRegister, copyRegister } from "./state.ts";

const ADD = 0x00;
const SUB = 0x10;

/** BPF_ALU_...: which operand is masked, and how. */
const MASK_SRC = 1;
const MASK_DST = 2;
const NEGATIVE = 4;
const NO_POINTER = 8;
const IMMEDIATE = 16;

/** What was seen before the operation; undefined: nothing has to be masked. */
export interface Window {
  readonly state: number;
  readonly limit: number;
  readonly left: boolean;
}

export function isMasked(operation: number): boolean {
  return operation === ADD || operation === SUB;
}

function needsNoMask(env: Environment, { opcode }: Instruction): boolean {
  return env.hasPerfmon || (opcode & 8) === 0 || env.currentAux.barrierBefore;
}

const PROHIBITED = "pointer arithmetic with it prohibited for !root";

function verb({ opcode }: Instruction): string {
  return (opcode & 0xf0) === ADD ? "add" : "sub";
}

/** All ways to an instruction must mask it alike (update_alu_sanitation_state). */
function remember(env: Environment, instruction: Instruction, state: number, limit: number): void {
  const aux = env.currentAux;
  if (aux.maskState !== 0 && (aux.maskState !== state || aux.maskLimit !== limit)) {
    throw env.reject(
      "EACCES",
      `R${instruction.dst} tried to ${verb(instruction)} from different maps, paths or scalars, ${PROHIBITED}`,
    );
  }
  aux.maskState = state;
  aux.maskLimit = limit;
}

/** Two numbers are added or subtracted. */
export function maskNumbers(env: Environment, instruction: Instruction): void {
  if (!needsNoMask(env, instruction)) remember(env, instruction, NO_POINTER, 0);
}

/** How far a pointer has moved in a direction: 32 bits, as the kernel counts (retrieve_ptr_limit). */
function distance(
  env: Environment,
  instruction: Instruction,
  pointer: RegisterState,
  left: boolean,
  offsetIsDst: boolean,
): number {
  const { type, off, scalar } = pointer;
  let most: number;
  let limit: number;
  if (type === PTR_TO_STACK) {
    // The frame pointer itself lies outside, but programs start from there.
    most = MAX_BPF_STACK + (left ? 1 : 0);
    limit = -(Number(BigInt.asIntN(64, partsOf(scalar).value)) + off) >>> 0;
  } else if (type === PTR_TO_MAP_VALUE) {
    most = (pointer.map as VerifierMap).valueSize;
    limit = ((left ? smin(scalar) : umax(scalar)) + off) >>> 0;
  } else {
    const { dst, src } = instruction;
    throw env.reject(
      "EACCES",
      `R${offsetIsDst ? src : dst} has pointer with unsupported alu operation, ${PROHIBITED}`,
    );
  }
  if (limit < most) return limit;
  throw env.reject(
    "EACCES",
    `R${instruction.dst} tried to ${verb(instruction)} beyond pointer bounds, ${PROHIBITED}`,
  );
}

/** Before `dst = pointer op offset`: what is known of the offset, and the way on which it was masked to 0. */
export function beginMasking(
  env: Environment,
  instruction: Instruction,
  pointer: RegisterState,
  offset: { readonly scalar: number; readonly isDst: boolean },
): Window | undefined {
  if (needsNoMask(env, instruction)) return undefined;
  const dst = env.registers[instruction.dst] as RegisterState;
  const { scalar, isDst } = offset;
  const negative = smin(scalar) < 0;
  const known = isConstant(scalar);
  let window: Window | undefined;
  if (!env.state.speculative) {
    if (!known && negative !== smax(scalar) < 0) {
      throw env.reject(
        "EACCES",
        `R${isDst ? instruction.dst : instruction.src} has unknown scalar with mixed signed bounds, ${PROHIBITED}`,
      );
    }
    const left = (instruction.opcode & 0xf0) === ADD ? negative : !negative;
    const limit = distance(env, instruction, pointer, left, isDst);
    const state =
      (negative ? NEGATIVE : 0) | (known ? IMMEDIATE : 0) | (pointer === dst ? MASK_SRC : MASK_DST);
    if (!known) env.exploreLimits = true;
    window = { state, limit, left };
  }
  // A known number becomes an immediate, which is not masked.
  if (!known) followMasked(env, instruction, pointer, dst);
  return window;
}

/** The way on which the offset was 0: the pointer alone. */
function followMasked(
  env: Environment,
  { dst: regno }: Instruction,
  pointer: RegisterState,
  dst: RegisterState,
): void {
  const before = pointer === dst ? undefined : cloneRegister(dst);
  if (before !== undefined) copyRegister(dst, pointer);
  // Lower halves of pointers are not followed.
  else dst.scalar = pointerAdd(dst.scalar, ZERO);
  try {
    pushPath(env, env.index + 1, env.index, "ENOMEM", true);
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    throw env.reject("ENOMEM", `R${regno} could not be pushed for speculative verification, ${PROHIBITED}`);
  }
  if (before !== undefined) copyRegister(dst, before);
}

/** After the operation: the pointer must lie inside, and the distance that it moved is the mask. */
export function endMasking(
  env: Environment,
  instruction: Instruction,
  window: Window | undefined,
  offsetIsDst: boolean,
): void {
  if (env.hasPerfmon) return;
  const { dst: regno } = instruction;
  const dst = env.registers[regno] as RegisterState;
  checkInside(env, regno, dst);
  if (window === undefined) return;
  const limit = distance(env, instruction, dst, window.left, offsetIsDst);
  remember(env, instruction, window.state, Math.abs((window.limit - limit) | 0));
}

/** Pointers to stack and map values stay inside of them at every step (sanitize_check_bounds). */
function checkInside(env: Environment, regno: number, { type, off, scalar }: RegisterState): void {
  if (type === PTR_TO_STACK) {
    if (!isConstant(scalar)) {
      throw env.reject(
        "EACCES",
        `R${regno} variable stack access prohibited for !root, var_off=${tnumText(scalar)} off=${off + Number(BigInt.asIntN(64, partsOf(scalar).value))}`,
      );
    }
    const at = off + constantNumber(scalar);
    if (at >= 0 || at < -MAX_BPF_STACK) {
      throw env.reject(
        "EACCES",
        `R${regno} stack pointer arithmetic goes out of range, prohibited for !root; off=${at}`,
      );
    }
  } else if (type === PTR_TO_MAP_VALUE) {
    try {
      checkMapValue(env, regno, off, 1, false, true);
    } catch (error) {
      if (!(error instanceof Rejection)) throw error;
      throw env.reject(
        "EACCES",
        `R${regno} pointer arithmetic of map value goes out of range, prohibited for !root`,
      );
    }
  }
}
