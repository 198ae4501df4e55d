/**
 * What sandboxed programs give to helpers. Where the facts show that every argument is what it must be, nothing is left to do
 * at run time: a map that the instructions name and a key in the function's own frame are most calls. Otherwise the core looks at
 * the arguments, in the execution state (sandbox/arguments.ts there, whose kinds these are).
 */
import {
  EXEC_REGS,
  POINTER_ANY,
  POINTER_IN,
  POINTER_IN_BYTES,
  POINTER_KEY,
  POINTER_MAP,
  POINTER_NULLABLE,
  POINTER_OUT,
  POINTER_OUT_BYTES,
  POINTER_VALUE,
  POINTER_VALUE_OUT,
  RIGHT_READ,
  RIGHT_WRITE,
} from "../core/layout.ts";
import { SLOT_SIZE } from "../isa/index.ts";
import type { Linkage } from "./calls.ts";
import { EXACT } from "./facts.ts";
import type { Registers } from "./registers.ts";
import { type Sandbox, type SandboxMap, needsNoCheck } from "./sandbox.ts";

/** The map that a register names, if it is known and the program's. */
export function mapIn({ facts }: Registers, register: number, sandbox: Sandbox): SandboxMap | undefined {
  if (facts.kind[register] !== EXACT || facts.high[register] !== 0) return undefined;
  return sandbox.map((facts.low[register] as number) >>> 0);
}

/** Before a call of a helper with `count` arguments. */
export function emitArgumentCheck(
  registers: Registers,
  helper: number,
  count: number,
  slot: number,
  link: Linkage,
  sandbox: Sandbox,
): void {
  const kinds = sandbox.arguments(helper);
  if (areProved(registers, kinds, sandbox)) return;
  const { code } = registers;
  for (let register = 1; register <= count; register++) {
    code.opIndex("global.get", link.execGlobal);
    registers.pushWhole(register);
    code.memory("i64.store", 3, EXEC_REGS + 8 * register);
  }
  code.i32Const(helper);
  emitStoredCheck(registers, slot, link);
}

/** Whether the facts show that all arguments are what the kinds demand. */
function areProved(registers: Registers, kinds: readonly number[], sandbox: Sandbox): boolean {
  const { facts } = registers;
  let map: SandboxMap | undefined;
  return kinds.every((full, index) => {
    const register = index + 1;
    if (full === POINTER_ANY) return true;
    let kind = full;
    if (kind < POINTER_IN_BYTES && (kind & POINTER_NULLABLE) !== 0) {
      if (facts.kind[register] === EXACT && facts.low[register] === 0 && facts.high[register] === 0)
        return true;
      kind -= POINTER_NULLABLE;
    }
    if (kind === POINTER_MAP) {
      map = mapIn(registers, register, sandbox);
      return map !== undefined;
    }
    const memory = memoryOf(registers, kind, register, map);
    return (
      memory !== undefined && (memory.bytes === 0 || needsNoCheck(registers, register, 0, memory, sandbox))
    );
  });
}

/** What a pointer of a kind must point to; undefined if only the core can tell. */
function memoryOf(
  { facts }: Registers,
  kind: number,
  register: number,
  map: SandboxMap | undefined,
): { bytes: number; right: number } | undefined {
  switch (kind) {
    case POINTER_KEY:
      return map && { bytes: map.keySize, right: RIGHT_READ };
    case POINTER_VALUE:
      return map && { bytes: map.valueSize, right: RIGHT_READ };
    case POINTER_VALUE_OUT:
      return map && { bytes: map.valueSize, right: RIGHT_WRITE };
    case POINTER_IN:
    case POINTER_OUT: {
      const size = register + 1;
      if (facts.kind[size] !== EXACT) return undefined;
      const right = kind === POINTER_IN ? RIGHT_READ : RIGHT_WRITE;
      return { bytes: (facts.low[size] as number) >>> 0, right };
    }
    default:
      if (kind >= POINTER_OUT_BYTES) return { bytes: kind - POINTER_OUT_BYTES, right: RIGHT_WRITE };
      if (kind >= POINTER_IN_BYTES) return { bytes: kind - POINTER_IN_BYTES, right: RIGHT_READ };
      return undefined;
  }
}

/** The same where the arguments are in the execution state already, and the helper's id is on the stack. */
export function emitStoredCheck(registers: Registers, slot: number, link: Linkage): void {
  const { code } = registers;
  registers.pushFrameEnd();
  code.i32Const(link.codeAddress + slot * SLOT_SIZE);
  code.opIndex("call", link.coreFunction("check_call"));
}
