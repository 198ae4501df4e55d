/**
 * The checks of sandboxed programs. An access that the facts prove to lie in the function's stack frame needs none. Every other
 * one compares its address with the window that the last access through the same register lay in, which two locals hold: first
 * byte, and number of bytes less those of the function's widest access. Only where that fails the core is asked, which
 * finds the window or ends the run.
 *
 * A window may be wrong for a register's new value; then the comparison fails and the core is asked. So it does not matter whose
 * window a local holds, only that it is one of the program's: that is why windows are forgotten where the packet may move or an
 * object may go, and why a copy of a register takes the window along.
 */
import { FRAME_SIZE, RIGHT_READ, RIGHT_WRITE } from "../core/layout.ts";
import { SLOT_SIZE } from "../isa/index.ts";
import type { Linkage } from "./calls.ts";
import { ANY, EXACT } from "./facts.ts";
import type { Registers } from "./registers.ts";
import type { Step } from "./steps.ts";
import type { ByteWriter } from "./wasm.ts";

/** What the compiler must know of a sandboxed program. */
export interface Sandbox {
  /** What r1 to r5 must be when a helper is called: POINTER_ constants; empty where all may be anything. */
  arguments(helper: number): readonly number[];
  /** Whether all windows hold after a call of the helper. */
  keeps(helper: number): boolean;
  /** The map whose descriptor lies at an address, if the program holds it. */
  map(address: number): SandboxMap | undefined;
  /** Whether bytes at a fixed address lie in a value that the program may always use so: a global variable, an array's element. */
  reaches(address: number, bytes: number, right: number): boolean;
}

export interface SandboxMap {
  readonly keySize: number;
  readonly valueSize: number;
  /** What may be done with the value that a lookup finds, RIGHT_ constants; 0 where lookups find something else. */
  readonly rights: number;
}

export interface Access {
  readonly bytes: number;
  /** RIGHT_ constants. */
  readonly right: number;
  readonly slot: number;
  /** The register of a helper's argument, for messages. */
  readonly argument?: number;
}

// No memory ever reaches so far: see access.ts of the core.
const NOWHERE = 0xffff0000;

/** The windows that a function keeps: which registers, read or written through, and the widest access. */
export class Windows {
  /** Local with the first byte, by register, writes after reads; -1 for none. The next local is the room. */
  readonly #locals = new Int16Array(22).fill(-1);
  readonly widest: number;

  constructor(steps: readonly Step[], registers: Registers) {
    let widest = 1;
    const use = (register: number, write: boolean, bytes: number): void => {
      widest = Math.max(widest, bytes);
      const at = register + (write ? 11 : 0);
      if (this.#locals[at] === -1) this.#locals[at] = registers.locals.pair();
    };
    for (const step of steps) {
      if (step.kind === "load") use(step.src, false, step.bytes);
      else if (step.kind === "store" || step.kind === "atomic") use(step.dst, true, step.bytes);
      else if (step.lowering?.kind === "array") use(2, false, 4);
    }
    this.widest = widest;
  }

  local(register: number, write: boolean): number {
    return this.#locals[register + (write ? 11 : 0)] as number;
  }

  /** Makes all windows hold nothing. */
  forget(code: ByteWriter): void {
    for (const local of this.#locals) {
      if (local === -1) continue;
      code.i32Const(NOWHERE);
      code.opIndex("local.set", local);
      code.i32Const(0);
      code.opIndex("local.set", local + 1);
    }
  }

  /** r0 points to a map's value, or is NULL: accesses through it need not ask for the window. */
  fill(registers: Registers, { valueSize, rights }: SandboxMap): void {
    const { code } = registers;
    if (valueSize < this.widest) return;
    for (const write of [false, true]) {
      const local = this.local(0, write);
      const wanted = write ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ;
      if (local === -1 || (rights & wanted) !== wanted) continue;
      registers.pushLow(0);
      code.i32Const(NOWHERE);
      registers.pushLow(0);
      code.op("select");
      code.opIndex("local.set", local);
      code.i32Const(valueSize - this.widest);
      code.opIndex("local.set", local + 1);
    }
  }

  /** A register has become a copy of another one. */
  copy(code: ByteWriter, target: number, source: number): void {
    for (const write of [false, true]) {
      const to = this.local(target, write);
      const from = this.local(source, write);
      if (to === -1 || from === -1 || to === from) continue;
      code.opIndex("local.get", from);
      code.opIndex("local.set", to);
      code.opIndex("local.get", from + 1);
      code.opIndex("local.set", to + 1);
    }
  }
}

/** Whether the facts place an access where the program may make it: in the function's own frame, or in its global variables. */
export function needsNoCheck(
  registers: Registers,
  register: number,
  offset: number,
  { bytes, right }: Pick<Access, "bytes" | "right">,
  sandbox: Sandbox,
): boolean {
  const { facts } = registers;
  if (facts.kind[register] !== EXACT) return isInFrame(registers, register, offset, bytes);
  // The low half, as everywhere: an address has 32 bits.
  return sandbox.reaches(((facts.low[register] as number) + offset) >>> 0, bytes, right);
}

function isInFrame({ facts }: Registers, register: number, offset: number, bytes: number): boolean {
  if (facts.kind[register] === ANY || facts.kind[register] === EXACT) return false;
  const fromStart = (facts.low[register] as number) + offset + FRAME_SIZE;
  return fromStart >= 0 && fromStart + bytes <= FRAME_SIZE;
}

/** Leaves the checked address on the stack. */
export function pushChecked(
  registers: Registers,
  register: number,
  offset: number,
  { bytes, right, slot, argument = 0 }: Access,
  link: Linkage,
): void {
  const { code, locals, windows } = registers;
  const address = locals.scratch("checked");
  const write = (right & RIGHT_WRITE) !== 0;
  const start = windows?.local(register, write) ?? -1;
  const widest = windows?.widest ?? bytes;
  registers.pushLow(register);
  if (offset !== 0) {
    code.i32Const(offset);
    code.op("i32.add");
  }
  code.opIndex("local.tee", address);
  code.opIndex("local.get", start);
  code.op("i32.sub");
  code.opIndex("local.get", start + 1);
  if (widest !== bytes) {
    code.i32Const(widest - bytes);
    code.op("i32.add");
  }
  code.op("i32.gt_u");
  code.open("if");
  code.opIndex("local.get", address);
  code.i32Const(bytes | (right << 8) | (widest << 16) | (argument << 24));
  registers.pushFrameEnd();
  code.i32Const(link.codeAddress + slot * SLOT_SIZE);
  code.opIndex("call", link.coreFunction("check_access"));
  code.opIndex("local.set", start);
  code.opIndex("global.get", link.roomGlobal);
  code.opIndex("local.set", start + 1);
  code.op("end");
  code.opIndex("local.get", address);
}

/** `ld_abs` and `ld_ind` take what r6 points to for a socket buffer. */
export function emitPacketCheck(registers: Registers, slot: number, link: Linkage): void {
  const { code } = registers;
  registers.pushWhole(6);
  code.i32Const(link.codeAddress + slot * SLOT_SIZE);
  code.opIndex("call", link.coreFunction("check_packet_context"));
}
