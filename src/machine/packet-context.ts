/** What BPF_PROG_TEST_RUN puts into the context of a packet beside what it is given (net/bpf/test_run.c). */
import { KIND_SKB_NETWORK, SKB_SK, XDP_FRAME_END, XDP_HEADROOM, XDP_PAGE } from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import type { ContextValues, Hook } from "../hooks/index.ts";
import { helperId } from "../uapi/index.ts";
import type { ProgramImage } from "./image.ts";
import type { EventInput, SocketInput } from "./run/input.ts";

const ETHERNET_HEADER = 14;

/** The values that a packet's context starts from: the caller's, and what follows from the packet where those say nothing. */
export function packetContext(
  hook: Hook,
  values: ContextValues | undefined,
  kind: number,
  packet: Uint8Array,
): ContextValues | undefined {
  return withEnds(hook, withWireLength(hook, values, kind, packet.length), packet);
}

/**
 * A context that is given to BPF_PROG_TEST_RUN without a wire_len gets the packet's length there, as the program sees it;
 * without a context it stays 0 (net/bpf/test_run.c: convert___skb_to_skb).
 */
function withWireLength(
  { context: { struct } }: Hook,
  values: ContextValues | undefined,
  kind: number,
  length: number,
): ContextValues | undefined {
  if (struct !== "__sk_buff" || values === undefined || Number(values["wire_len"] ?? 0) !== 0) return values;
  return { ...values, wire_len: kind === KIND_SKB_NETWORK ? Math.max(0, length - ETHERNET_HEADER) : length };
}

const ETHERTYPES = { ip: 0x0800, ip6: 0x86dd } as const;
const AF_INET = 2;
const AF_INET6 = 10;

/**
 * Of control groups' programs, whose contexts show the packet's socket: its ends are the packet's addresses, as in
 * BPF_PROG_TEST_RUN, unless the caller says otherwise. It has no ports.
 */
function withEnds(
  { type }: Hook,
  values: ContextValues | undefined,
  packet: Uint8Array,
): ContextValues | undefined {
  if (type !== "cgroup_skb" || packet.length < ETHERNET_HEADER) return values;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const words = (offset: number, count: number): number[] =>
    Array.from({ length: count }, (_, index) => view.getUint32(ETHERNET_HEADER + offset + 4 * index, true));
  const room = packet.length - ETHERNET_HEADER;
  switch (view.getUint16(ETHERNET_HEADER - 2)) {
    case ETHERTYPES.ip: {
      if (room < 20) return { family: AF_INET, ...values };
      const [local = 0, remote = 0] = words(12, 2);
      return { family: AF_INET, local_ip4: local, remote_ip4: remote, ...values };
    }
    case ETHERTYPES.ip6:
      if (room < 40) return { family: AF_INET6, ...values };
      return { family: AF_INET6, local_ip6: words(8, 4), remote_ip6: words(24, 4), ...values };
    default:
      return values;
  }
}

// linux/skbuff.h struct skb_shared_info has 8 bits for the length of metadata, a multiple of 4, and room for MAX_SKB_FRAGS fragments.
const MAX_METADATA = 252;
const MAX_FRAGMENTS = 17;

/**
 * How the bytes of a frame are laid out: metadata before the packet, fragments behind its page.
 *
 * @throws BpfError code "context" for other types than xdp, and for lengths that no frame has.
 */
export function frameArea(
  program: string,
  { type }: Hook,
  metadata: Uint8Array | undefined,
  linear: number | undefined,
): { readonly meta?: number; readonly linear?: number } {
  if (metadata === undefined && linear === undefined) return {};
  const fail = (why: string): BpfError => new BpfError("context", `program '${program}': ${why}`);
  if (type !== "xdp") throw fail(`metadata and linear are for xdp programs, not for ${type}`);
  const meta = metadata?.length ?? 0;
  if (meta > MAX_METADATA || meta % 4 !== 0) {
    throw fail(`metadata is a multiple of 4 bytes, ${MAX_METADATA} at most, not ${meta}`);
  }
  if (linear === undefined) return { meta };
  if (!Number.isInteger(linear) || linear < 1) {
    throw fail(`linear is the number of bytes in the frame's own page, 1 at least, not ${linear}`);
  }
  return { meta, linear: linear + meta };
}

/**
 * What does not lie in the frame's own page lies in fragments of a page each.
 *
 * @throws BpfError code "context", errno "ENOMEM", for a packet that has too many of them.
 */
export function checkFragments(program: string, { length }: Uint8Array, linear = length): void {
  const inPage = Math.min(linear, XDP_FRAME_END - XDP_HEADROOM);
  const fragments = Math.ceil((length - inPage) / XDP_PAGE);
  if (fragments <= MAX_FRAGMENTS) return;
  throw new BpfError(
    "context",
    `program '${program}': a packet of ${length} bytes would take ${fragments} fragments, a frame has ${MAX_FRAGMENTS} at most: ENOMEM`,
    { errno: "ENOMEM" },
  );
}

/** A frame's bytes: metadata, then the packet. */
export function withMetadata(metadata: Uint8Array, packet: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(metadata.length + packet.length);
  bytes.set(metadata);
  bytes.set(packet, metadata.length);
  return bytes;
}

// RFC 9669: `rX = *(u64 *)(rY + OFFSET)` and `call HELPER`.
const LOAD_DW = 0x79;
const CALL = 0x85;
/** What looks at the socket of a packet, or may have somebody else look. */
const LOOKING: ReadonlySet<number | undefined> = new Set([
  helperId("get_socket_cookie"),
  helperId("tail_call"),
]);

/** Whether a program with a `struct __sk_buff` may look at the packet's socket; where none does, none is made. */
export function looksAtSocket({ instructions }: Pick<ProgramImage, "instructions">): boolean {
  return instructions.some(
    ({ opcode, src, offset, imm }) =>
      (opcode === LOAD_DW && offset === SKB_SK) || (opcode === CALL && src === 0 && LOOKING.has(imm)),
  );
}

/** Parts of an input that say how to run, not what is seen. */
const RUN_KEYS: ReadonlySet<string> = new Set([
  "packet",
  "repeat",
  "cpu",
  "engine",
  "layer",
  "metadata",
  "linear",
]);

export const isRunKey = (name: string): boolean => RUN_KEYS.has(name);

/** What is given to types without packets of a capture. */
export function eventInput(program: string, input: EventKeys): EventInput {
  const { packet, socket } = input;
  if (socket === null)
    throw new BpfError("context", `program '${program}': only a packet may be without a socket`);
  // The parts that say how to run are passed over by who lays it out.
  return packet === undefined ? (input as EventInput) : { ...(input as EventInput), data: packet };
}

interface EventKeys extends Omit<EventInput, "socket"> {
  readonly packet?: Uint8Array;
  readonly socket?: SocketInput | null;
}
