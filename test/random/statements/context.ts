import type { FunctionBuilder } from "../builder.ts";
import type { GeneratedType } from "../model.ts";
import { rowsOf } from "../rows.ts";
import { NONE, SCALAR } from "../state.ts";

interface ContextField {
  readonly offset: number;
  readonly size: 4 | 8;
  readonly write?: boolean;
  /** The kernel keeps fewer bits than the field has. */
  readonly bits?: number;
}

/** Fields that hold the same on every machine that is given the same packet (uapi/linux/bpf.h). */
const FIELDS: Readonly<Record<GeneratedType, readonly ContextField[]>> = {
  xdp: [
    { offset: 12, size: 4 },
    { offset: 16, size: 4 },
  ],
  sched_cls: [
    { offset: 0, size: 4 },
    { offset: 4, size: 4 },
    { offset: 8, size: 4, write: true },
    { offset: 16, size: 4 },
    { offset: 20, size: 4 },
    { offset: 24, size: 4 },
    { offset: 28, size: 4 },
    { offset: 32, size: 4, write: true },
    { offset: 40, size: 4 },
    { offset: 44, size: 4, write: true, bits: 16 },
    { offset: 48, size: 4, write: true },
    { offset: 52, size: 4, write: true },
    { offset: 60, size: 4, write: true },
    { offset: 64, size: 4, write: true },
  ],
  socket_filter: [
    { offset: 0, size: 4 },
    { offset: 4, size: 4 },
    { offset: 8, size: 4 },
    { offset: 16, size: 4 },
    { offset: 20, size: 4 },
    { offset: 32, size: 4 },
    { offset: 40, size: 4 },
    { offset: 48, size: 4, write: true },
    { offset: 56, size: 4, write: true },
    { offset: 64, size: 4, write: true },
  ],
};

export function loadContext(b: FunctionBuilder): boolean {
  const field = b.random.pick(FIELDS[b.program.type]);
  const src = b.context();
  if (src === undefined) return false;
  const dst = b.target();
  b.emit("ldxw", { dst, src, offset: field.offset });
  b.set(dst, SCALAR);
  return true;
}

export function storeContext(b: FunctionBuilder): boolean {
  const fields = FIELDS[b.program.type].filter(({ write }) => write === true);
  if (fields.length === 0) return false;
  const dst = b.context();
  if (dst === undefined) return false;
  const { offset, bits } = b.random.pick(fields);
  let src = b.scalar([dst]);
  if (bits !== undefined) {
    src = b.scratch([dst]);
    b.emit("and64_imm", { dst: src, imm: 2 ** bits - 1 });
  }
  b.emit("stxw", { dst, src, offset });
  return true;
}

const PACKET_LOADS = rowsOf("packet");

/** Classic BPF's packet loads: a load beyond the packet ends the program with 0. */
export function packetLoad(b: FunctionBuilder): boolean {
  if (b.program.type === "xdp" || b.depth > 0 || b.program.plans.length > 0) return false;
  if (b.get(6).kind !== "ctx" || [0, 1, 2, 3, 4, 5].some((reg) => b.locked.has(reg))) return false;
  const row = b.random.pick(PACKET_LOADS);
  if (row.semantics.mode === "ind") {
    const src = b.target([6]);
    b.emit("mov64_reg", { dst: src, src: b.scalar() });
    b.emit("and64_imm", { dst: src, imm: b.random.pick([7, 15, 31]) });
    b.set(src, SCALAR);
    b.emit(row, { src, imm: b.random.between(0, 20) });
  } else b.emit(row, { imm: b.random.between(0, 50) });
  b.now.clobber();
  b.set(0, SCALAR);
  return true;
}

const CONTEXT_DATA = {
  xdp: { data: 0, end: 4 },
  sched_cls: { data: 76, end: 80 },
  socket_filter: undefined,
} as const;

/** The eight ways to say that `pointer` lies in the packet: where the good way goes on, and the operands' order. */
const CHECKS = [
  { jump: "jgt64_reg", swap: false, good: "next" },
  { jump: "jge64_reg", swap: false, good: "next" },
  { jump: "jlt64_reg", swap: true, good: "next" },
  { jump: "jle64_reg", swap: true, good: "next" },
  { jump: "jle64_reg", swap: false, good: "taken" },
  { jump: "jlt64_reg", swap: false, good: "taken" },
  { jump: "jge64_reg", swap: true, good: "taken" },
  { jump: "jgt64_reg", swap: true, good: "taken" },
] as const;

/** Gets pointers to the packet and its end, and proves that some bytes are there. */
export function packetPointer(b: FunctionBuilder): boolean {
  const fields = CONTEXT_DATA[b.program.type];
  if (fields === undefined) return false;
  const ctx = b.context();
  if (ctx === undefined) return false;
  const data = b.target([ctx]);
  const end = b.target([ctx, data]);
  if (data === end) return false;
  b.emit("ldxw", { dst: data, src: ctx, offset: fields.data });
  b.emit("ldxw", { dst: end, src: ctx, offset: fields.end });
  b.set(data, { kind: "packet", base: b.program.nextPacketBase++, offset: 0 });
  b.set(end, { kind: "end" });
  if (b.random.chance(0.2)) {
    const dst = b.target([ctx, data, end]);
    b.copy(dst, end);
    b.emit("sub64_reg", { dst, src: data });
    b.set(dst, SCALAR);
  }
  return checkPacket(b, data, end);
}

/** Moves on in the packet by a number that is read from somewhere, and checks again. */
export function packetAdvance(b: FunctionBuilder): boolean {
  const [end] = b.having(({ kind }) => kind === "end");
  const pointers = b.having(({ kind }) => kind === "packet").filter((reg) => !b.locked.has(reg));
  if (end === undefined || pointers.length === 0) return false;
  const reg = b.random.pick(pointers);
  const value = b.get(reg);
  // An offset that has grown twice may exceed what the verifier follows.
  if (value.kind !== "packet" || value.base < 0) return false;
  const index = b.target([reg, end]);
  if (index === reg || index === end) return false;
  b.emit("mov64_reg", { dst: index, src: b.scalar([reg, end]) });
  b.emit("and64_imm", { dst: index, imm: b.random.pick([3, 15, 31, 60]) });
  b.set(index, SCALAR);
  b.emit("add64_reg", { dst: reg, src: index });
  b.set(reg, { kind: "packet", base: -b.program.nextPacketBase++, offset: 0 });
  return checkPacket(b, reg, end);
}

function checkPacket(b: FunctionBuilder, pointer: number, end: number): boolean {
  const value = b.get(pointer);
  if (value.kind !== "packet") return false;
  const size = b.random.pick([1, 4, 8, 14, 14, 20, 34, 40, 54, 64]);
  const probe = b.target([pointer, end]);
  if (probe === pointer || probe === end) return false;
  b.copy(probe, pointer);
  b.emit("add64_imm", { dst: probe, imm: size });
  const proven = value.offset + size;
  const { jump, swap, good } = b.random.pick(CHECKS);
  const operands = swap ? { dst: end, src: probe } : { dst: probe, src: end };
  b.set(probe, NONE);
  if (good === "next") b.jump(jump, operands);
  else {
    b.emit(jump, { ...operands, offset: 1 });
    b.jump("ja", {});
  }
  b.now.ranges.set(value.base, Math.max(proven, b.now.ranges.get(value.base) ?? 0));
  if (b.random.chance(0.5)) b.set(probe, { kind: "packet", base: value.base, offset: proven });
  return true;
}
