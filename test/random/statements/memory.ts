import type { FunctionBuilder } from "../builder.ts";
import { type RowOf, rowsOf } from "../rows.ts";
import { SCALAR, type Value } from "../state.ts";
import { randomImm } from "../values.ts";

const LOADS = rowsOf("load");
const STORES = rowsOf("store");
const ATOMICS = rowsOf("atomic");

type Access = "load" | "store" | "atomic";

interface Place {
  readonly reg: number;
  readonly offset: number;
  /** Where in the frame it is, if it is there at a known place. */
  readonly stack?: number;
}

/** A register and an offset where `size` bytes may be accessed so. */
function findPlace(b: FunctionBuilder, size: number, access: Access): Place | undefined {
  const regs = b.having(({ kind }) => ["stack", "buffer", "packet", "value"].includes(kind));
  for (let tries = 0; tries < 6; tries++) {
    const reg = b.random.pick(regs);
    const place = placeIn(b, reg, b.get(reg), size, access);
    if (place !== undefined) return place;
  }
  return undefined;
}

function placeIn(
  b: FunctionBuilder,
  reg: number,
  value: Value,
  size: number,
  access: Access,
): Place | undefined {
  const { random } = b;
  /** A multiple of the step from low to high, both included. */
  const within = (low: number, high: number, step: number): number | undefined => {
    const first = Math.ceil(low / step);
    const last = Math.floor(high / step);
    return last < first ? undefined : random.between(first, last) * step;
  };
  if (value.kind === "stack") {
    // The verifier wants stack accesses aligned, whatever the machine can do.
    if (value.spread > 0 && (value.align < size || access === "atomic")) return undefined;
    if (access === "store" && value.spread === 0) {
      const stack = b.place(size, size);
      return stack === undefined ? undefined : { reg, offset: stack - value.offset, stack };
    }
    const stack = b.writtenPlace(size + value.spread, Math.max(size, value.spread > 0 ? value.align : 1));
    if (stack === undefined || (access !== "load" && b.touchesLocked(stack, size + value.spread)))
      return undefined;
    return { reg, offset: stack - value.offset, ...(value.spread === 0 ? { stack } : {}) };
  }
  if (value.kind === "buffer") {
    const at = within(0, value.size - size, size);
    return at === undefined ? undefined : { reg, offset: at - value.offset };
  }
  if (value.kind === "packet") {
    if (access === "atomic" || (access === "store" && b.program.type === "socket_filter")) return undefined;
    const at = within(0, (b.now.ranges.get(value.base) ?? 0) - size, 1);
    return at === undefined ? undefined : { reg, offset: at - value.offset };
  }
  if (value.kind === "value") {
    const map = b.program.maps[value.map];
    if (map === undefined || (map.frozen && access !== "load")) return undefined;
    if (access === "atomic" && value.align < size) return undefined;
    const at = within(0, map.valueSize - size - value.spread, access === "atomic" ? size : 1);
    return at === undefined ? undefined : { reg, offset: at - value.offset };
  }
  return undefined;
}

export function load(b: FunctionBuilder): boolean {
  const row = b.random.pick(LOADS);
  const place = findPlace(b, row.semantics.bytes, "load");
  if (place === undefined) return false;
  const dst = b.target();
  b.emit(row, { dst, src: place.reg, offset: place.offset });
  b.set(dst, SCALAR);
  return true;
}

export function store(b: FunctionBuilder): boolean {
  const row = b.random.pick(STORES);
  const { bytes, source } = row.semantics;
  const src = source === "reg" ? b.scalar() : 0;
  const place = findPlace(b, bytes, "store");
  if (place === undefined) return false;
  b.emit(row, { dst: place.reg, src, offset: place.offset, imm: randomImm(b.random) });
  if (place.stack !== undefined) b.now.write(place.stack, bytes);
  return true;
}

/** Atomic operations on the stack and in maps: packets and contexts the verifier refuses. */
export function atomic(b: FunctionBuilder): boolean {
  const row: RowOf<"atomic"> = b.random.pick(ATOMICS);
  const { op, fetch, bytes } = row.semantics;
  if (op === "load_acquire") {
    const place = findPlace(b, bytes, "atomic");
    if (place === undefined) return false;
    const dst = b.target();
    b.emit(row, { dst, src: place.reg, offset: place.offset });
    b.set(dst, SCALAR);
    return true;
  }
  if (op === "cmpxchg" && b.get(0).kind !== "scalar") {
    if (b.locked.has(0)) return false;
    b.constant(0, randomImm(b.random));
  }
  if (op === "cmpxchg" && b.locked.has(0)) return false;
  const src = fetch && op !== "cmpxchg" ? b.scratch() : b.scalar();
  const place = findPlace(b, bytes, "atomic");
  if (place === undefined || place.reg === src) return false;
  // Linux 6.18 loses track of what a fetch from the stack puts into the register: states with different values are
  // taken for equal, and a branch that is needed is removed (seen as a hole in the translated program).
  if (fetch && place.stack !== undefined) return false;
  b.emit(row, { dst: place.reg, src, offset: place.offset });
  if (place.stack !== undefined) b.now.write(place.stack, bytes);
  return true;
}

/** Writes a run of bytes of the stack, for keys, values and later loads. */
export function fillStack(b: FunctionBuilder): boolean {
  const size = b.random.pick([8, 8, 16, 24, 32]);
  const offset = b.place(size, 8);
  if (offset === undefined) return false;
  b.fill(offset, size);
  return true;
}

/** Saves a register, pointers included, and later gets it back. */
export function spill(b: FunctionBuilder): boolean {
  if (b.loops.length > 0) return false;
  const regs = b.having(({ kind }) => kind !== "none").filter((reg) => reg !== 10);
  const offset = b.place(8, 8);
  if (regs.length === 0 || offset === undefined) return false;
  const src = b.random.pick(regs);
  const value = b.get(src);
  b.emit("stxdw", { dst: 10, src, offset });
  if (value.kind === "scalar") b.now.write(offset, 8);
  else {
    b.now.write(offset, 8);
    b.now.spill(offset, value);
  }
  return true;
}

export function fillSpilled(b: FunctionBuilder): boolean {
  const spills = [...b.now.spills];
  if (spills.length === 0) return false;
  const [offset, value] = b.random.pick(spills);
  const dst = b.target();
  b.emit("ldxdw", { dst, src: 10, offset });
  b.set(dst, value);
  return true;
}

const POINTERS: ReadonlySet<string> = new Set(["stack", "buffer", "packet", "value", "ctx"]);

/** Copies a pointer. */
export function copyPointer(b: FunctionBuilder): boolean {
  const regs = b.having(({ kind }) => POINTERS.has(kind));
  const src = b.random.pick(regs);
  const dst = b.target([src]);
  b.copy(dst, src);
  return true;
}

/** Moves a pointer by a constant, to a place from which something can still be reached. */
export function movePointer(b: FunctionBuilder): boolean {
  const regs = b
    .having(({ kind }) => POINTERS.has(kind) && kind !== "ctx")
    .filter((reg) => reg !== 10 && !b.locked.has(reg));
  if (regs.length === 0) return false;
  const reg = b.random.pick(regs);
  const value = b.get(reg);
  const { random } = b;
  if (value.kind === "stack") {
    const offset = -random.between(0, b.frame / 8) * 8;
    b.emit("add64_imm", { dst: reg, imm: offset - value.offset });
    b.set(reg, { ...value, offset });
  } else if (value.kind === "buffer" || value.kind === "value") {
    const size = value.kind === "buffer" ? value.size : (b.program.maps[value.map]?.valueSize ?? 0);
    const offset = random.between(0, Math.floor(size / 8)) * 8;
    const delta = offset - value.offset;
    if (random.chance(0.5)) b.emit("add64_imm", { dst: reg, imm: delta });
    // From a pointer into a frame the verifier lets nothing be subtracted.
    else if (value.kind === "value") b.emit("sub64_imm", { dst: reg, imm: 0 - delta });
    else b.emit("add64_imm", { dst: reg, imm: delta });
    b.set(reg, { ...value, offset });
  } else if (value.kind === "packet") {
    const offset = random.between(0, 40);
    b.emit("add64_imm", { dst: reg, imm: offset - value.offset });
    b.set(reg, { ...value, offset });
  }
  return true;
}

/** Moves a pointer by a number that only the run knows, kept in bounds by a mask. */
export function spreadPointer(b: FunctionBuilder): boolean {
  const { random } = b;
  const regs = b
    .having((value) => (value.kind === "stack" || value.kind === "value") && value.spread === 0)
    .filter((reg) => b.get(reg).kind === "stack" || !b.locked.has(reg));
  if (regs.length === 0) return false;
  const from = random.pick(regs);
  const value = b.get(from);
  if (value.kind !== "stack" && value.kind !== "value") return false;
  const align = random.pick([1, 2, 4, 8]);
  const spread = random.pick([1, 3, 7, 15, 31]) * align;
  // What lies beyond must be there: for the stack it is checked at each access.
  if (value.kind === "value" && value.offset + spread + 8 > (b.program.maps[value.map]?.valueSize ?? 0))
    return false;
  if (value.kind === "stack" && value.offset + spread + 8 > 0) return false;
  const index = b.target([from]);
  const source = b.scalar([from]);
  b.emit("mov64_reg", { dst: index, src: source });
  b.emit(random.pick(["and64_imm", "and32_imm"]), { dst: index, imm: spread & ~(align - 1) });
  b.set(index, SCALAR);
  const dst = from === 10 || random.chance(0.5) || b.locked.has(from) ? b.target([from, index]) : from;
  if (dst !== from) b.copy(dst, from);
  b.emit("add64_reg", { dst, src: index });
  b.set(dst, { ...value, spread: spread & ~(align - 1), align });
  return true;
}

/** A pointer into the frame. */
export function stackPointer(b: FunctionBuilder): boolean {
  const dst = b.target();
  const offset = -b.random.between(1, b.frame / 8) * 8;
  b.copy(dst, 10);
  b.emit("add64_imm", { dst, imm: offset });
  b.set(dst, { kind: "stack", offset, spread: 0, align: 8 });
  return true;
}
