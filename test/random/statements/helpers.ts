import type { FunctionBuilder } from "../builder.ts";
import { SCALAR } from "../state.ts";
import { randomImm } from "../values.ts";
import { callHelper, canCall, stackArgument } from "./maps.ts";

const KTIME_GET_NS = 5;
const GET_PRANDOM_U32 = 7;
const GET_SMP_PROCESSOR_ID = 8;
const REDIRECT = 23;
const SKB_LOAD_BYTES = 26;
const CSUM_DIFF = 28;
const XDP_ADJUST_HEAD = 44;
const XDP_ADJUST_META = 54;
const XDP_ADJUST_TAIL = 65;

/** Time and chance: called, and their results left alone. */
export function unpredictable(b: FunctionBuilder): boolean {
  if (!canCall(b)) return false;
  callHelper(b, b.random.pick([KTIME_GET_NS, GET_PRANDOM_U32, GET_SMP_PROCESSOR_ID]));
  return true;
}

export function csumDiff(b: FunctionBuilder): boolean {
  if (b.program.type === "socket_filter" || !canCall(b)) return false;
  const { random } = b;
  const sizes = [random.pick([0, 4, 8, 20]), random.pick([0, 4, 8, 20])];
  const places = sizes.map((size) => (size === 0 ? 0 : b.writtenPlace(size)));
  if (places.includes(undefined)) return false;
  // The seed first: what it is copied from may be an argument register.
  b.emit("mov64_reg", { dst: 5, src: b.scalar() });
  b.set(5, SCALAR);
  sizes.forEach((size, index) => {
    const reg = 1 + 2 * index;
    if (size === 0) b.constant(reg, 0);
    else stackArgument(b, reg, places[index] as number);
    b.constant(reg + 1, size);
  });
  callHelper(b, CSUM_DIFF);
  b.set(0, SCALAR);
  return true;
}

export function skbLoadBytes(b: FunctionBuilder): boolean {
  if (b.program.type === "xdp" || !canCall(b)) return false;
  const { random } = b;
  const size = random.pick([1, 2, 4, 6, 8, 14, 20]);
  const place = b.place(size, 8);
  const ctx = b.context();
  if (place === undefined || ctx === undefined) return false;
  if (ctx !== 1) b.copy(1, ctx);
  if (random.chance(0.7)) b.constant(2, random.between(0, 60));
  else {
    b.emit("mov64_reg", { dst: 2, src: b.scalar([1]) });
    b.set(2, SCALAR);
  }
  stackArgument(b, 3, place);
  b.constant(4, size);
  callHelper(b, SKB_LOAD_BYTES);
  // Where it fails the bytes are zeroed, so they are written either way.
  b.now.write(place, size);
  b.set(0, SCALAR);
  return true;
}

export function redirect(b: FunctionBuilder): boolean {
  if (b.program.type === "socket_filter" || !canCall(b)) return false;
  b.constant(1, b.random.between(0, 3));
  b.constant(2, b.random.pick([0, 0, 0, 1, randomImm(b.random)]));
  callHelper(b, REDIRECT);
  b.set(0, SCALAR);
  return true;
}

/** Moves the packet's ends: every pointer into it is lost. */
export function xdpAdjust(b: FunctionBuilder): boolean {
  if (b.program.type !== "xdp" || b.keepPackets > 0 || !canCall(b)) return false;
  const { random } = b;
  const ctx = b.context();
  if (ctx === undefined) return false;
  if (ctx !== 1) b.copy(1, ctx);
  const id = random.pick([XDP_ADJUST_HEAD, XDP_ADJUST_TAIL, XDP_ADJUST_META]);
  const amount = random.pick([-300, -64, -32, -14, -8, -4, -1, 0, 1, 4, 8, 14, 32, 64, 300, 4000]);
  b.constant(2, amount);
  callHelper(b, id);
  b.set(0, SCALAR);
  b.movesPacket = true;
  b.now.forget(({ kind }) => kind === "packet" || kind === "end");
  return true;
}
