import type { FunctionBuilder, Operands } from "../builder.ts";
import { rowsOf } from "../rows.ts";
import { NONE, SCALAR, type State, merge } from "../state.ts";
import { randomImm } from "../values.ts";
import { isArray } from "./maps.ts";

const JUMPS = rowsOf("jump");
const GOTOS = rowsOf("goto");

interface Condition extends Operands {
  readonly row: (typeof JUMPS)[number];
}

/** A comparison of two scalars; whatever it says, both ways are good. */
function condition(b: FunctionBuilder): Condition {
  const row = b.random.pick(JUMPS);
  const dst = b.scalar();
  return { row, dst, src: row.semantics.source === "reg" ? b.scalar() : 0, imm: randomImm(b.random) };
}

export function branch(b: FunctionBuilder): boolean {
  const { row, ...operands } = condition(b);
  b.jump(row, operands);
  return true;
}

/** Places where waiting jumps arrive. */
export function join(b: FunctionBuilder): boolean {
  if (!b.canBind) return false;
  b.bind();
  return true;
}

/** An unconditional jump; the code behind it is reached by another one, or else by this one. */
export function goto(b: FunctionBuilder): boolean {
  b.jump(b.random.pick(GOTOS), {});
  b.state = undefined;
  b.bind();
  return true;
}

/** Ends the function early. */
export function exit(b: FunctionBuilder): boolean {
  if (!b.canBind) return false;
  if (b.get(0).kind !== "scalar") {
    if (b.locked.has(0)) return false;
    b.constant(0, randomImm(b.random));
  }
  b.emit("exit");
  b.state = undefined;
  b.bind();
  return true;
}

/** What a loop's body must leave as it is, and how to undo that. */
interface LoopFrame {
  readonly head: State;
  leave(): void;
}

/**
 * Prepares a loop. What holds at its head must hold again at its end, so pointers are either locked for the body or
 * forgotten; scalars and written bytes that the body loses are put back before the jump.
 */
function enter(b: FunctionBuilder): LoopFrame {
  const { random } = b;
  const regs: number[] = [];
  const slots: number[] = [];
  let packets = 0;
  let elements = 0;
  const keep = (value: ReturnType<typeof b.get>): void => {
    if (value.kind === "packet" || value.kind === "end") packets = 1;
    const map = value.kind === "value" ? b.program.maps[value.map] : undefined;
    if (map !== undefined && !isArray(map)) elements = 1;
  };
  for (let reg = 0; reg < 10; reg++) {
    const value = b.get(reg);
    if (b.locked.has(reg)) {
      keep(value);
      continue;
    }
    if (value.kind === "none" || value.kind === "scalar") continue;
    if (reg >= 6 && random.chance(0.6)) {
      regs.push(reg);
      b.locked.add(reg);
      keep(value);
    } else b.set(reg, NONE);
  }
  for (const [slot, value] of b.now.spills) {
    if (b.lockedSlots.has(slot) || random.chance(0.7)) {
      if (!b.lockedSlots.has(slot)) slots.push(slot);
      b.lockedSlots.add(slot);
      keep(value);
    } else b.now.spills.delete(slot);
  }
  b.keepPackets += packets;
  b.keepElements += elements;
  return {
    head: b.now.clone(),
    leave() {
      for (const reg of regs) b.locked.delete(reg);
      for (const slot of slots) b.lockedSlots.delete(slot);
      b.keepPackets -= packets;
      b.keepElements -= elements;
    },
  };
}

/** Puts back what the head of the loop counts on. */
function repair(b: FunctionBuilder, head: State): void {
  head.regs.forEach((value, reg) => {
    if (value.kind === "scalar" && b.get(reg).kind !== "scalar") b.constant(reg, randomImm(b.random));
  });
  const { written } = b.now;
  for (let slot = -b.frame; slot < 0; slot += 8) {
    const from = slot + written.length;
    if (head.written.subarray(from, from + 8).some((byte, at) => byte === 1 && written[from + at] !== 1)) {
      b.fill(slot, 8);
    }
  }
}

/** Where a loop counts: a register, or bytes of the stack. */
interface Counter {
  start(value: number): void;
  /** Steps, and leaves the new count in the register that it returns. */
  step(by: number): number;
  leave(): void;
}

function counter(b: FunctionBuilder): Counter | undefined {
  const { random } = b;
  if (random.chance(0.75)) {
    const free = [6, 7, 8, 9, ...(random.chance(0.2) ? [1, 2, 3, 4, 5] : [])].filter(
      (reg) => !b.locked.has(reg),
    );
    if (free.length === 0) return undefined;
    const reg = random.pick(free);
    return {
      start(value) {
        b.constant(reg, value);
        b.locked.add(reg);
      },
      step(by) {
        b.emit("add64_imm", { dst: reg, imm: by });
        return reg;
      },
      leave: () => b.locked.delete(reg),
    };
  }
  const slot = b.place(8, 8);
  if (slot === undefined) return undefined;
  return {
    start(value) {
      b.emit("stdw", { dst: 10, offset: slot, imm: value });
      b.now.write(slot, 8);
      b.lockedSlots.add(slot);
    },
    step(by) {
      const reg = b.target();
      b.emit("ldxdw", { dst: reg, src: 10, offset: slot });
      b.emit("add64_imm", { dst: reg, imm: by });
      b.emit("stxdw", { dst: 10, src: reg, offset: slot });
      b.set(reg, SCALAR);
      return reg;
    },
    leave: () => b.lockedSlots.delete(slot),
  };
}

const BACK_DOWN = ["jne64_imm", "jgt64_imm", "jsgt64_imm", "jne32_imm", "jgt32_imm", "jsgt32_imm"] as const;
const BACK_UP = ["jlt64_imm", "jslt64_imm", "jne64_imm", "jlt32_imm", "jslt32_imm", "jne32_imm"] as const;

/**
 * A loop with a known number of rounds. One in four is entered in its middle as well, which makes the graph
 * irreducible.
 */
export function countedLoop(
  b: FunctionBuilder,
  body: (b: FunctionBuilder, statements: number) => void,
): boolean {
  if (b.loops.length >= 2) return false;
  const { random } = b;
  const count = counter(b);
  if (count === undefined) return false;
  const rounds = random.between(1, b.loops.length === 0 ? 6 : 3);
  const up = random.chance(0.5);
  const entry = random.chance(0.25) ? condition(b) : undefined;
  count.start(up ? 0 : rounds);
  const { head, leave } = enter(b);
  const jump = entry && b.emit(entry.row, entry);
  const start = b.code.length;
  b.enterLoop();
  body(b, random.between(1, 6));
  if (jump !== undefined) {
    b.land(jump);
    b.state = merge(b.now, head);
    body(b, random.between(1, 3));
  }
  repair(b, head);
  const reg = count.step(up ? 1 : -1);
  const row = random.pick(up ? BACK_UP : BACK_DOWN);
  b.emit(row, { dst: reg, imm: up ? rounds : 0, offset: start - b.code.length - 1 });
  b.leaveLoop();
  leave();
  count.leave();
  return true;
}

/** A loop whose number of rounds the verifier does not know: `may_goto` bounds it. */
export function openLoop(
  b: FunctionBuilder,
  body: (b: FunctionBuilder, statements: number) => void,
): boolean {
  if (b.loops.length >= 1) return false;
  const { random } = b;
  const free = [6, 7, 8, 9].filter((reg) => !b.locked.has(reg));
  if (free.length === 0) return false;
  const reg = random.pick(free);
  const from = b.scalar();
  b.emit("mov64_reg", { dst: reg, src: from });
  b.emit("and64_imm", { dst: reg, imm: random.pick([1, 3, 7]) });
  b.set(reg, SCALAR);
  b.locked.add(reg);
  const { head, leave } = enter(b);
  const start = b.code.length;
  b.enterLoop();
  b.jump("may_goto", {});
  b.jump("jeq64_imm", { dst: reg, imm: 0 });
  body(b, random.between(1, 4));
  repair(b, head);
  b.emit("add64_imm", { dst: reg, imm: -1 });
  b.emit("ja", { offset: start - b.code.length - 1 });
  b.state = undefined;
  b.leaveLoop();
  leave();
  b.locked.delete(reg);
  b.bindFrom(start);
  return true;
}
