/**
 * Packets: accesses through pkt and pkt_meta pointers, and what comparisons with pkt_end tell.
 *
 * A packet pointer has a range: so many bytes behind it are there for certain. It begins as 0; a comparison with the end of
 * the packet raises it, on the side where the end lies further on, for every pointer that was made from the same sum
 * (same id). On the other side the pointer is known to be at or beyond the end, which decides later comparisons.
 */
import { CLASSES, type Instruction } from "../../isa/index.ts";
import type { HelperName } from "../../uapi/index.ts";
import type { Environment } from "../environment.ts";
import type { MemoryAccess } from "../memory.ts";
import { PTR_TO_PACKET, PTR_TO_PACKET_END, PTR_TO_PACKET_META } from "../register-types.ts";
import { isZero, smin, umax } from "../scalar/index.ts";
import { type RegisterState, type VerifierState, changeRegisters } from "../state.ts";
import { checkLeak } from "./leak.ts";
import { checkBounds, loadUnknown, negative } from "./map-value.ts";

/** `range` of a pointer that was compared with the end of the packet and did not come before it. */
const AT_PACKET_END = -1;
const BEYOND_PACKET_END = -2;
/** MAX_PACKET_OFF. */
const MAX_PACKET_OFFSET = 0xffff;

export function checkPacketAccess(env: Environment, access: MemoryAccess): void {
  const { regno, off, size, write } = access;
  if (write && !mayTouchPacket(env, true)) throw env.reject("EACCES", "cannot write into packet");
  checkLeak(env, access, "packet");
  checkPacket(env, regno, off, size, false);
  loadUnknown(env, access);
}

/** Whether bytes at a packet pointer are known to be there (check_packet_access). */
export function checkPacket(
  env: Environment,
  regno: number,
  off: number,
  size: number,
  zeroAllowed: boolean,
): void {
  const { scalar, range } = env.registers[regno] as RegisterState;
  if (smin(scalar) < 0) throw negative(env, regno);
  const complaint = `R${regno} offset is outside of the packet`;
  if (range < 0) throw env.reject("EINVAL", complaint);
  checkBounds(env, regno, off, size, range, zeroAllowed, complaint);
  env.maxPacketOffset = Math.max(env.maxPacketOffset, off + umax(scalar) + size - 1);
}

const READERS: ReadonlySet<string> = new Set([
  "lwt_in",
  "lwt_out",
  "lwt_seg6local",
  "sk_reuseport",
  "flow_dissector",
  "cgroup_skb",
]);
const WRITERS: ReadonlySet<string> = new Set([
  "sched_cls",
  "sched_act",
  "xdp",
  "lwt_xmit",
  "sk_skb",
  "sk_msg",
]);

/** Whether the program type may access packets through pointers; `helper`: whether this helper may (may_access_direct_pkt_data). */
export function mayTouchPacket(
  env: Environment,
  write: boolean,
  helper?: { readonly name: HelperName | undefined; readonly packetAccess: boolean },
): boolean {
  if (env.type === "cgroup_sockopt") {
    if (write) env.seenDirectWrite = true;
    return true;
  }
  if (!WRITERS.has(env.type) && (write || !READERS.has(env.type))) return false;
  if (helper !== undefined) return helper.packetAccess;
  env.seenDirectWrite = true;
  return true;
}

const JGT = 0x20;
const JGE = 0x30;
const JLT = 0xa0;
const JLE = 0xb0;
const FLIPPED: Readonly<Record<number, number>> = { [JGT]: JLT, [JLT]: JGT, [JGE]: JLE, [JLE]: JGE };

/** A packet pointer that has not moved from the beginning, though it may have a range. */
function isStart({ type, id, off, scalar }: RegisterState): boolean {
  return type === PTR_TO_PACKET && id === 0 && off === 0 && isZero(scalar);
}

/** Whether the comparison is one of a pointer with the end of what it points into: pkt with pkt_end, pkt_meta with pkt. */
function comparesWithEnd(pointer: RegisterState, end: RegisterState): boolean {
  return (
    (pointer.type === PTR_TO_PACKET && end.type === PTR_TO_PACKET_END) ||
    (pointer.type === PTR_TO_PACKET_META && isStart(end))
  );
}

/**
 * Whether a conditional jump compares packet pointers in a way that tells a range; then the ranges in both states are set
 * (try_match_pkt_pointers). `state` falls through, `other` jumps.
 */
export function matchPacketPointers(
  _env: Environment,
  instruction: Instruction,
  dst: RegisterState,
  src: RegisterState,
  state: VerifierState,
  other: VerifierState,
): boolean {
  const { opcode } = instruction;
  if ((opcode & 8) === 0 || (opcode & 7) === CLASSES.jmp32) return false;
  let operation = opcode & 0xf0;
  if (FLIPPED[operation] === undefined) return false;
  let pointer = dst;
  let regno = instruction.dst;
  if (!comparesWithEnd(dst, src)) {
    if (!comparesWithEnd(src, dst)) return false;
    // "end OP pointer" is "pointer FLIPPED end".
    operation = FLIPPED[operation] as number;
    pointer = src;
    regno = instruction.src;
  }
  // Where the pointer is not beyond the end, bytes before it are there; where it is below, one more.
  const below = operation === JLT || operation === JGE;
  const jumps = operation === JLT || operation === JLE;
  const { type } = pointer;
  extendRanges(jumps ? other : state, pointer, type, below);
  markEnd(jumps ? state : other, regno, !below);
  return true;
}

/** Pointers with the same variable part get the bytes up to the pointer compared (find_good_pkt_pointers). */
function extendRanges(state: VerifierState, pointer: RegisterState, type: number, open: boolean): void {
  const { off, id, scalar } = pointer;
  if (off < 0 || (off === 0 && open)) return;
  const most = umax(scalar);
  if (most > MAX_PACKET_OFFSET || most + off > MAX_PACKET_OFFSET) return;
  const range = open ? off + 1 : off;
  changeRegisters(
    state,
    (reg) => reg.type === type && reg.id === id && reg.range < range,
    (reg) => {
      reg.range = range;
    },
  );
}

function markEnd({ frames }: VerifierState, regno: number, beyond: boolean): void {
  const reg = frames.at(-1)?.registers[regno] as RegisterState;
  if (reg.type === PTR_TO_PACKET) reg.range = beyond ? BEYOND_PACKET_END : AT_PACKET_END;
}

/** Whether a comparison of packet pointers is decided already: 1, 0, or -1 (is_pkt_ptr_branch_taken). */
export function packetBranchTaken(dst: RegisterState, src: RegisterState, op: number): number {
  let pointer: RegisterState;
  let operation = op;
  if (src.type === PTR_TO_PACKET_END) pointer = dst;
  else if (dst.type === PTR_TO_PACKET_END) {
    pointer = src;
    operation = FLIPPED[op] ?? op;
  } else return -1;
  const { range } = pointer;
  if (range >= 0) return -1;
  if ((operation === JLE || operation === JGT) && range === BEYOND_PACKET_END)
    return operation === JGT ? 1 : 0;
  if (operation === JLT || operation === JGE) return operation === JGE ? 1 : 0;
  return -1;
}
