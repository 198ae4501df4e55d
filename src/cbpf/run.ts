/**
 * The interpreter of classic BPF. It takes unchecked programs, too: those of libpcap's `protochain` jump backwards,
 * which no kernel accepts.
 *
 * Linux and libpcap's bpf_filter() agree wherever a program stays inside what both define, and differ at the edges:
 *
 * |                              | "linux"                                   | "libpcap"            |
 * | ---------------------------- | ----------------------------------------- | -------------------- |
 * | load from SKF_AD_OFF and up  | a property of the packet                  | fails                |
 * | from SKF_NET_OFF, SKF_LL_OFF | counts from the network or link header    | fails                |
 * | [x + k] beyond 32 bits       | wraps around                              | fails                |
 * | shift by X of 32 and more    | by X modulo 32                            | 0                    |
 *
 * A load that fails ends the program with 0, and so does a division by an X of 0. A shift by a constant of 32 and more,
 * which Linux refuses and C leaves undefined, is one by the constant modulo 32, as processors do it.
 */
import { BpfError } from "../errors.ts";
import { type Ancillary, SKF_LL_OFF, SKF_NET_OFF, ancillaryAt } from "./ancillary.ts";
import { CBPF_SCRATCH_CELLS, type CbpfInstruction, type CbpfProgram } from "./instruction.ts";

/** Whose reading of the edges; see the table at the head of run.ts. */
export type CbpfFlavor = "linux" | "libpcap";

/** What a run can be told beside the packet. */
export interface CbpfRunOptions {
  /** The packet's length on the wire, which `len` reads; its captured length by default. */
  readonly wireLength?: number | undefined;
  /** Values of ancillary loads; absent ones are 0. */
  readonly ancillary?: Ancillary | undefined;
  /** Where the network header begins, for loads from SKF_NET_OFF; default 14, as in Ethernet. */
  readonly networkOffset?: number | undefined;
  /** Default "linux". */
  readonly flavor?: CbpfFlavor | undefined;
  /** Most instructions to run before the program counts as endless; default 1,000,000. */
  readonly fuel?: number | undefined;
}

const DEFAULT_FUEL = 1_000_000;
const ETHERNET_HEADER = 14;

/**
 * Runs a classic program over one packet.
 *
 * @param packet the captured bytes, from the link header on
 * @returns the program's value, unsigned 32 bits: 0 rejects, otherwise how many bytes to keep
 * @throws BpfError code "program" for an instruction that doesn't exist or a jump out of the program, "fault" for a
 * program that doesn't end
 * @example
 * const ip = [
 *   { code: 0x28, jt: 0, jf: 0, k: 12 }, //    ldh [12]
 *   { code: 0x15, jt: 0, jf: 1, k: 0x800 }, // jeq #0x800, jt 2, jf 3
 *   { code: 0x06, jt: 0, jf: 0, k: 65535 }, // ret #65535
 *   { code: 0x06, jt: 0, jf: 0, k: 0 }, //     ret #0
 * ];
 * runCbpf(ip, new Uint8Array(14)); // 0: no IPv4
 */
export function runCbpf(program: CbpfProgram, packet: Uint8Array, options: CbpfRunOptions = {}): number {
  const { flavor = "linux", fuel = DEFAULT_FUEL, wireLength = packet.length } = options;
  const state: CbpfState = { pc: 0, a: 0, x: 0, cells: new Uint32Array(CBPF_SCRATCH_CELLS) };
  const input: CbpfInput = {
    packet,
    wireLength: wireLength >>> 0,
    linux: flavor === "linux",
    ancillary: options.ancillary ?? {},
    networkOffset: options.networkOffset ?? ETHERNET_HEADER,
  };
  for (let left = fuel; left > 0; left--) {
    const value = stepCbpf(program, state, input);
    if (value >= 0) return value;
  }
  throw new BpfError("fault", `filter program: it has not ended after ${fuel} instructions`, {
    where: { instruction: state.pc },
  });
}

/** The registers between two instructions. */
export interface CbpfState {
  /** Index of the next instruction. */
  pc: number;
  /** Unsigned 32 bits, as are `x` and the cells. */
  a: number;
  x: number;
  readonly cells: Uint32Array;
}

/** What stays the same while a program runs. */
export interface CbpfInput {
  readonly packet: Uint8Array;
  readonly wireLength: number;
  readonly linux: boolean;
  readonly ancillary: Ancillary;
  readonly networkOffset: number;
}

/** Answer of {@link stepCbpf} as long as the program goes on. */
const RUNNING = -1;

/** Runs one instruction; the program's value if that was its end, a negative number otherwise. */
export function stepCbpf(program: CbpfProgram, state: CbpfState, input: CbpfInput): number {
  const instruction = program[state.pc];
  if (instruction === undefined) throw leftProgram(state.pc);
  const { code, k } = instruction;
  const { a, x, cells } = state;
  state.pc++;
  // Literals, for V8 makes a jump table of them alone. Each line is one row of CBPF_INSTRUCTIONS.
  switch (code) {
    case 0x20: // ld [k]
      return load(state, input, k, 4, true);
    case 0x28: // ldh [k]
      return load(state, input, k, 2, true);
    case 0x30: // ldb [k]
      return load(state, input, k, 1, true);
    case 0x40: // ld [x + k]
      return loadIndexed(state, input, k, 4);
    case 0x48: // ldh [x + k]
      return loadIndexed(state, input, k, 2);
    case 0x50: // ldb [x + k]
      return loadIndexed(state, input, k, 1);
    case 0x00: // ld #k
      state.a = k;
      return RUNNING;
    case 0x60: // ld M[k]
      state.a = cell(cells, k, state.pc);
      return RUNNING;
    case 0x80: // ld len
      state.a = input.wireLength;
      return RUNNING;
    case 0x01: // ldx #k
      state.x = k;
      return RUNNING;
    case 0x61: // ldx M[k]
      state.x = cell(cells, k, state.pc);
      return RUNNING;
    case 0x81: // ldx len
      state.x = input.wireLength;
      return RUNNING;
    case 0xb1: {
      // ldxb 4*([k]&0xf)
      const value = packetBytes(input, k, 1);
      if (value < 0) return 0;
      state.x = (value & 0xf) << 2;
      return RUNNING;
    }
    case 0x02: // st M[k]
      cell(cells, k, state.pc);
      cells[k] = a;
      return RUNNING;
    case 0x03: // stx M[k]
      cell(cells, k, state.pc);
      cells[k] = x;
      return RUNNING;
    case 0x04: // add #k
      state.a = (a + k) >>> 0;
      return RUNNING;
    case 0x0c: // add x
      state.a = (a + x) >>> 0;
      return RUNNING;
    case 0x14: // sub #k
      state.a = (a - k) >>> 0;
      return RUNNING;
    case 0x1c: // sub x
      state.a = (a - x) >>> 0;
      return RUNNING;
    case 0x24: // mul #k
      state.a = Math.imul(a, k) >>> 0;
      return RUNNING;
    case 0x2c: // mul x
      state.a = Math.imul(a, x) >>> 0;
      return RUNNING;
    case 0x34: // div #k
      return divide(state, k, false);
    case 0x3c: // div x
      return divide(state, x, false);
    case 0x94: // mod #k
      return divide(state, k, true);
    case 0x9c: // mod x
      return divide(state, x, true);
    case 0x44: // or #k
      state.a = (a | k) >>> 0;
      return RUNNING;
    case 0x4c: // or x
      state.a = (a | x) >>> 0;
      return RUNNING;
    case 0x54: // and #k
      state.a = (a & k) >>> 0;
      return RUNNING;
    case 0x5c: // and x
      state.a = (a & x) >>> 0;
      return RUNNING;
    case 0x64: // lsh #k
      state.a = (a << k) >>> 0;
      return RUNNING;
    case 0x6c: // lsh x
      state.a = shiftsOut(x, input) ? 0 : (a << x) >>> 0;
      return RUNNING;
    case 0x74: // rsh #k
      state.a = a >>> k;
      return RUNNING;
    case 0x7c: // rsh x
      state.a = shiftsOut(x, input) ? 0 : a >>> x;
      return RUNNING;
    case 0x84: // neg
      state.a = -a >>> 0;
      return RUNNING;
    case 0xa4: // xor #k
      state.a = (a ^ k) >>> 0;
      return RUNNING;
    case 0xac: // xor x
      state.a = (a ^ x) >>> 0;
      return RUNNING;
    case 0x05: // ja: backwards if k is negative as 32 signed bits
      state.pc += k | 0;
      return RUNNING;
    case 0x15: // jeq #k
      return branch(state, instruction, a === k);
    case 0x1d: // jeq x
      return branch(state, instruction, a === x);
    case 0x25: // jgt #k
      return branch(state, instruction, a > k);
    case 0x2d: // jgt x
      return branch(state, instruction, a > x);
    case 0x35: // jge #k
      return branch(state, instruction, a >= k);
    case 0x3d: // jge x
      return branch(state, instruction, a >= x);
    case 0x45: // jset #k
      return branch(state, instruction, (a & k) !== 0);
    case 0x4d: // jset x
      return branch(state, instruction, (a & x) !== 0);
    case 0x06: // ret #k
      return k;
    case 0x16: // ret a
      return a;
    case 0x07: // tax
      state.x = a;
      return RUNNING;
    case 0x87: // txa
      state.a = x;
      return RUNNING;
    default:
      throw new BpfError(
        "program",
        `filter program: instruction ${state.pc - 1}: there is no instruction with code 0x${code.toString(16)}`,
        { where: { instruction: state.pc - 1 } },
      );
  }
}

function branch(state: CbpfState, { jt, jf }: CbpfInstruction, holds: boolean): number {
  state.pc += holds ? jt : jf;
  return RUNNING;
}

function divide(state: CbpfState, divisor: number, remainder: boolean): number {
  if (divisor === 0) return 0;
  state.a = remainder ? state.a % divisor : Math.trunc(state.a / divisor);
  return RUNNING;
}

function shiftsOut(by: number, { linux }: CbpfInput): boolean {
  return by > 31 && !linux;
}

function cell(cells: Uint32Array, k: number, pc: number): number {
  const value = cells[k];
  if (value === undefined) {
    throw new BpfError("program", `filter program: instruction ${pc - 1}: there is no scratch cell M[${k}]`, {
      where: { instruction: pc - 1 },
    });
  }
  return value;
}

function loadIndexed(state: CbpfState, input: CbpfInput, k: number, bytes: number): number {
  const offset = state.x + k;
  return load(state, input, input.linux ? offset >>> 0 : offset, bytes, false);
}

function load(state: CbpfState, input: CbpfInput, k: number, bytes: number, absolute: boolean): number {
  if (absolute && k >= SKF_LL_OFF && input.linux) {
    const ancillary = ancillaryAt(k);
    if (ancillary !== undefined) {
      state.a = ancillaryValue(ancillary.name, state, input);
      return RUNNING;
    }
  }
  const value = packetBytes(input, k, bytes);
  if (value < 0) return 0;
  state.a = value;
  return RUNNING;
}

/** Bytes of the packet as a big-endian number, or -1 if they are not all there. */
function packetBytes({ packet, linux, networkOffset }: CbpfInput, k: number, bytes: number): number {
  let offset = k;
  if (linux && k >= SKF_LL_OFF) offset = k >= SKF_NET_OFF ? k - SKF_NET_OFF + networkOffset : k - SKF_LL_OFF;
  if (offset + bytes > packet.length) return -1;
  const first = packet[offset] as number;
  if (bytes === 1) return first;
  const second = packet[offset + 1] as number;
  if (bytes === 2) return (first << 8) | second;
  return (
    ((first << 24) |
      (second << 16) |
      ((packet[offset + 2] as number) << 8) |
      (packet[offset + 3] as number)) >>>
    0
  );
}

function ancillaryValue(
  name: keyof Required<Ancillary>,
  { a, x }: CbpfState,
  { ancillary, packet }: CbpfInput,
): number {
  const given = ancillary[name];
  if (name === "xor_x") return (a ^ x) >>> 0;
  if (given !== undefined) return given >>> 0;
  if (name === "nla") return netlinkAttribute(packet, a, packet.length, x);
  if (name === "nlan") return nestedAttribute(packet, a, x);
  return 0;
}

const NLA_HEADER = 4;
/** NLA_TYPE_MASK of uapi linux/netlink.h: the upper two bits are flags. */
const NLA_TYPE = 0x3fff;

/** Offset of the attribute of a type among those that follow each other from `start` to `end`; 0 if there is none. */
function netlinkAttribute(packet: Uint8Array, start: number, end: number, type: number): number {
  // Netlink is in host byte order: little-endian, as on every machine that Node.js runs on but s390x.
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  let offset = start;
  while (end - offset >= NLA_HEADER) {
    const length = view.getUint16(offset, true);
    if (length < NLA_HEADER || length > end - offset) return 0;
    if ((view.getUint16(offset + 2, true) & NLA_TYPE) === type) return offset;
    offset += (length + 3) & ~3;
  }
  return 0;
}

function nestedAttribute(packet: Uint8Array, start: number, type: number): number {
  if (packet.length - start < NLA_HEADER) return 0;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const length = view.getUint16(start, true);
  if (length < NLA_HEADER || length > packet.length - start) return 0;
  return netlinkAttribute(packet, start + NLA_HEADER, start + length, type);
}

function leftProgram(pc: number): BpfError {
  return new BpfError("program", `filter program: it runs on to instruction ${pc}, which it does not have`, {
    where: { instruction: pc },
  });
}
