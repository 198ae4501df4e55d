/**
 * Messages of sockets, which programs make longer, shorter and contiguous (net/core/filter.c). A message is a list of pieces, of
 * which a program sees the first: putting bytes into a piece splits it, so that what is seen becomes shorter.
 */
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import type { Message } from "../run/runner.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

// struct sk_msg_md.
const MSG_DATA = 0;
const MSG_DATA_END = 8;
const MSG_SIZE = 68;
// linux/skmsg.h MAX_MSG_FRAGS: MAX_SKB_FRAGS of linux/skbuff.h.
const MAX_PIECES = 17;

function messageOf(helper: HelperName, { run }: HelperWorld): Message {
  if (run.message !== undefined) return run.message;
  throw notInWorld(helper, "there is no message", "run the program with run({ data })");
}

/** Shows a part of the message to the program. */
function show({ memory }: HelperWorld, context: number, message: Message, start: number, end: number): void {
  memory.setU64(context + MSG_DATA, BigInt(message.start + start));
  memory.setU64(context + MSG_DATA_END, BigInt(message.start + end));
  memory.setU32(context + MSG_SIZE, message.length);
}

function change(world: HelperWorld, context: number, message: Message, bytes: Uint8Array): void {
  message.start = message.replace(bytes);
  message.length = bytes.length;
  show(world, context, message, 0, message.pieces[0] ?? 0);
}

/** The piece that an offset lies in, the last one for the end; how far in it lies. */
function pieceAt(pieces: readonly number[], offset: number): { index: number; inside: number } {
  let before = 0;
  for (const [index, length] of pieces.entries()) {
    if (offset < before + length || index === pieces.length - 1) return { index, inside: offset - before };
    before += length;
  }
  return { index: 0, inside: offset };
}

function pullData(world: HelperWorld, args: HelperArguments): number {
  const [context, start, end, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u64(4)];
  const message = messageOf("msg_pull_data", world);
  if (flags !== 0n || end <= start || end > message.length) return -ERRNO.EINVAL;
  const { pieces } = message;
  const first = pieceAt(pieces, start).index;
  const last = pieceAt(pieces, end - 1).index;
  const joined = pieces.slice(first, last + 1).reduce((sum, length) => sum + length, 0);
  pieces.splice(first, last - first + 1, joined);
  show(world, context, message, start, end);
  return 0;
}

function pushData(world: HelperWorld, args: HelperArguments): number {
  const [context, start, length, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u64(4)];
  const message = messageOf("msg_push_data", world);
  if (flags !== 0n) return -ERRNO.EINVAL;
  if (length === 0) return 0;
  if (start > message.length || message.length + length > 0xffffffff) return -ERRNO.EINVAL;
  const { pieces } = message;
  const { index, inside } = pieceAt(pieces, start);
  const whole = pieces[index] ?? 0;
  const room = MAX_PIECES - pieces.length;
  // Without room for new pieces the one that the offset lies in is copied together with the new bytes.
  if (room <= 0 || (room === 1 && inside !== 0)) pieces[index] = whole + length;
  else if (inside === 0) pieces.splice(index, 0, length);
  else pieces.splice(index, 1, ...[inside, length, whole - inside].filter((part) => part > 0));
  const before = world.memory.read(message.start, message.length);
  const after = new Uint8Array(before.length + length);
  after.set(before.subarray(0, start));
  after.set(before.subarray(start), start + length);
  change(world, context, message, after);
  return 0;
}

function popData(world: HelperWorld, args: HelperArguments): number {
  const [context, start, length, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u64(4)];
  const message = messageOf("msg_pop_data", world);
  if (flags !== 0n) return -ERRNO.EINVAL;
  if (length === 0) return 0;
  if (start >= message.length || start + length > message.length) return -ERRNO.EINVAL;
  const rest: number[] = [];
  const room = MAX_PIECES - message.pieces.length;
  let at = 0;
  for (const piece of message.pieces) {
    const before = Math.min(Math.max(start - at, 0), piece);
    const after = Math.min(Math.max(at + piece - (start + length), 0), piece);
    // What is left on both sides of a gap stays one piece if there can be no other.
    const parts = before > 0 && after > 0 && room <= 0 ? [before + after] : [before, after];
    rest.push(...(before + after >= piece ? [piece] : parts.filter((part) => part > 0)));
    at += piece;
  }
  message.pieces = rest;
  const bytes = world.memory.read(message.start, message.length);
  const left = new Uint8Array(message.length - length);
  left.set(bytes.subarray(0, start));
  left.set(bytes.subarray(start + length), start);
  change(world, context, message, left);
  return 0;
}

export const MESSAGES: readonly HostHelper[] = [
  { name: "msg_pull_data", args: 4, call: pullData },
  { name: "msg_push_data", args: 4, call: pushData },
  { name: "msg_pop_data", args: 4, call: popData },
  {
    name: "msg_apply_bytes",
    args: 2,
    call({ run }, args) {
      run.applyBytes = args.u32(2);
      return 0;
    },
  },
  {
    name: "msg_cork_bytes",
    args: 2,
    call({ run }, args) {
      run.corkBytes = args.u32(2);
      return 0;
    },
  },
];
