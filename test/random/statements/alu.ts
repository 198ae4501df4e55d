import type { FunctionBuilder } from "../builder.ts";
import { rowsOf } from "../rows.ts";
import { SCALAR } from "../state.ts";
import { randomImm, randomWide } from "../values.ts";

const ALU = rowsOf("alu");
const ENDIAN = rowsOf("endian");
const SHIFTS: ReadonlySet<string> = new Set(["lsh", "rsh", "arsh"]);
const DIVISIONS: ReadonlySet<string> = new Set(["div", "sdiv", "mod", "smod"]);

/** Any arithmetic on scalars. Constants that the verifier refuses (too wide shifts, division by 0) are left out. */
export function alu(b: FunctionBuilder): boolean {
  const row = b.random.pick(ALU);
  const { op, width, source } = row.semantics;
  const moves = op === "mov" || op === "movsx";
  if (moves && source === "imm") {
    const dst = b.target();
    b.emit(row, { dst, imm: randomImm(b.random) });
    b.set(dst, SCALAR);
    return true;
  }
  if (source === "reg") {
    const src = b.scalar();
    const dst = moves ? b.target() : b.scratch();
    b.emit(row, { dst, src });
    b.set(dst, SCALAR);
    return true;
  }
  let imm = randomImm(b.random);
  if (SHIFTS.has(op)) imm = b.random.pick([0, 1, 7, 8, width - 1, b.random.below(width)]);
  else if (DIVISIONS.has(op) && imm === 0) imm = b.random.pick([-1, 1, 2, 3]);
  b.emit(row, { dst: b.scratch(), imm });
  return true;
}

export function endian(b: FunctionBuilder): boolean {
  b.emit(b.random.pick(ENDIAN), { dst: b.scratch() });
  return true;
}

export function wideConstant(b: FunctionBuilder): boolean {
  b.wide(b.target(), randomWide(b.random));
  return true;
}
