/** Contexts of sockets: TCP's events, lookup, selection, messages. */
import { type ContextValues, contextTemplate, decodeContext, hookOf } from "../../hooks/index.ts";
import { BpfError } from "../../errors.ts";
import {
  AF_INET,
  AF_INET6,
  type Endpoint,
  familyNumber,
  familyOf,
  ipWords,
  networkPort,
  parseEndpoint,
  protocolNumber,
  socketType,
} from "./endpoint.ts";
import type { EventInput, SocketInput } from "./input.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
// enum BPF_TCP_ESTABLISHED, BPF_TCP_CLOSE.
const ESTABLISHED = 1;
const CLOSE = 7;

/** Fields of struct bpf_sock: addresses in network order, the local port in host order. */
export function sockValues(name: string, socket: SocketInput): ContextValues {
  const what = `program '${name}': socket`;
  const { local, remote, type, protocol, family, ...fields } = socket;
  const here = local === undefined ? undefined : parseEndpoint(local, `${what}.local`);
  const there = remote === undefined ? undefined : parseEndpoint(remote, `${what}.remote`);
  const kind = type === undefined ? undefined : socketType(type, `${what}.type`);
  const number =
    protocol === undefined
      ? kind === SOCK_DGRAM
        ? IPPROTO_UDP
        : IPPROTO_TCP
      : protocolNumber(protocol, `${what}.protocol`);
  const end = here ?? there;
  return {
    family:
      family === undefined
        ? end === undefined
          ? AF_INET
          : familyOf(end)
        : familyNumber(family, `${what}.family`),
    type: kind ?? (number === IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM),
    protocol: number,
    state: there === undefined ? CLOSE : ESTABLISHED,
    // No queue is mapped: linux/sock.h NO_QUEUE_MAPPING.
    rx_queue_mapping: -1,
    ...(here === undefined ? {} : { ...address(here, "src_ip4", "src_ip6"), src_port: here.port }),
    ...(there === undefined
      ? {}
      : { ...address(there, "dst_ip4", "dst_ip6"), dst_port: networkPort(there.port) }),
    ...fields,
  };
}

/** The words of an address, as a field of one or of four. */
export function address({ ip }: Endpoint, four: string, six: string): ContextValues {
  const words = ipWords(ip);
  return words.length === 1 ? { [four]: words[0] as number } : { [six]: words };
}

/** A struct bpf_sock for the run; its address. */
export function placeSocket(subject: Subject, socket: SocketInput): bigint {
  const bytes = contextTemplate(hookOf("cgroup_sock"), sockValues(subject.name, socket));
  return BigInt(subject.scratch.place(bytes));
}

/** Both ends as sock_ops, sk_msg and __sk_buff show them: the remote port fills the upper half, in network order. */
export function endValues(subject: Subject, { local, remote }: EventInput): ContextValues {
  const what = `program '${subject.name}'`;
  const here = local === undefined ? undefined : parseEndpoint(local, `${what}: local`);
  const there = remote === undefined ? undefined : parseEndpoint(remote, `${what}: remote`);
  const end = here ?? there;
  return {
    ...(end === undefined ? {} : { family: familyOf(end) }),
    ...(here === undefined ? {} : { ...address(here, "local_ip4", "local_ip6"), local_port: here.port }),
    ...(there === undefined
      ? {}
      : { ...address(there, "remote_ip4", "remote_ip6"), remote_port: networkPort(there.port) * 0x10000 }),
  };
}

export const bytesOf = (data: Uint8Array | string | undefined): Uint8Array =>
  typeof data === "string" ? new TextEncoder().encode(data) : (data ?? new Uint8Array(0));

export function setPointer(context: Uint8Array, offset: number, pointer: bigint | number): void {
  new DataView(context.buffer, context.byteOffset).setBigUint64(offset, BigInt(pointer), true);
}

function pointerAt(context: Uint8Array, offset: number): number {
  return Number(new DataView(context.buffer, context.byteOffset).getBigUint64(offset, true));
}

/** Data between two pointers of a context; a copy of what lies there after the run. */
export function between(subject: Subject, context: Uint8Array, start: number, end: number): Uint8Array {
  const from = pointerAt(context, start);
  const to = pointerAt(context, end);
  return from === 0 || to < from ? new Uint8Array(0) : subject.scratch.memory.read(from, to - from);
}

/** The socket that the rest of the input tells of. */
function socketOf(input: EventInput): SocketInput {
  const { socket, local, remote, protocol } = input;
  return {
    ...(local === undefined ? {} : { local }),
    ...(remote === undefined ? {} : { remote }),
    ...(protocol === undefined ? {} : { protocol }),
    ...socket,
  };
}

/** enum of uapi/linux/bpf.h, from 0 on. */
export const SOCK_OPS_NAMES = [
  "VOID",
  "TIMEOUT_INIT",
  "RWND_INIT",
  "TCP_CONNECT_CB",
  "ACTIVE_ESTABLISHED_CB",
  "PASSIVE_ESTABLISHED_CB",
  "NEEDS_ECN",
  "BASE_RTT",
  "RTO_CB",
  "RETRANS_CB",
  "STATE_CB",
  "TCP_LISTEN_CB",
  "RTT_CB",
  "PARSE_HDR_OPT_CB",
  "HDR_OPT_LEN_CB",
  "WRITE_HDR_OPT_CB",
  "TSTAMP_SCHED_CB",
  "TSTAMP_SND_SW_CB",
  "TSTAMP_SND_HW_CB",
  "TSTAMP_ACK_CB",
  "TSTAMP_SENDMSG_CB",
] as const;

function opNumber(subject: Subject, op: string | number): number {
  if (typeof op === "number") return op;
  const number = SOCK_OPS_NAMES.findIndex((name) => name === op.replace(/^BPF_SOCK_OPS_/, ""));
  if (number >= 0) return number;
  throw new BpfError(
    "context",
    `program '${subject.name}': no event '${op}'; there are ${SOCK_OPS_NAMES.join(", ")}`,
  );
}

// Offsets of struct bpf_sock_ops.
const OPS_REPLY = 4;
const OPS_SK = 184;
const OPS_DATA = 192;
const OPS_DATA_END = 200;
// RFC 9293, 3.1.
const TCP_HEADER_MAX = 60;

export const SOCK_OPS: Arranger = {
  takes: ["op", "args", "local", "remote", "socket", "data"],
  arrange(subject, input): Arrangement {
    const { op = 0, args = [], data } = input;
    const words = (Array.isArray(args) ? args : Object.values(args)).map((word, index) =>
      Number(BigInt.asUintN(32, subject.scratch.word(word, subject.name, `args[${index}]`))),
    );
    const bytes = bytesOf(data);
    const context = contextTemplate(subject.hook, {
      op: opNumber(subject, op),
      args: words,
      is_fullsock: 1,
      state: ESTABLISHED,
      ...endValues(subject, input),
      ...(data === undefined ? {} : { skb_len: bytes.length }),
      ...input.context,
    });
    setPointer(context, OPS_SK, placeSocket(subject, socketOf(input)));
    if (data !== undefined) {
      // Behind a header that is being written there is room for what programs add.
      const start = subject.scratch.room(Math.max(bytes.length, TCP_HEADER_MAX));
      subject.scratch.memory.write(start, bytes);
      setPointer(context, OPS_DATA, start);
      setPointer(context, OPS_DATA_END, start + bytes.length);
    }
    return {
      context,
      result: (after) => ({
        reply: new DataView(after.buffer, after.byteOffset).getInt32(OPS_REPLY, true),
        ...(data === undefined ? {} : { data: between(subject, after, OPS_DATA, OPS_DATA_END) }),
        ...(subject.state.stamped === true ? { stamped: true } : {}),
      }),
    };
  },
};

// Offsets of struct bpf_sk_lookup; an address of IPv6 follows each of IPv4.
const LOOKUP = { family: 8, protocol: 12, remoteIp4: 16, localIp4: 40 } as const;

export const SK_LOOKUP: Arranger = {
  takes: ["protocol", "local", "remote"],
  arrange(subject, input): Arrangement {
    const { protocol = IPPROTO_TCP, remote, local } = input;
    const what = `program '${subject.name}'`;
    const ends = endValues(subject, {
      ...(local === undefined ? {} : { local }),
      ...(remote === undefined ? {} : { remote }),
    });
    const six = input.context?.["remote_ip6"] ?? input.context?.["local_ip6"];
    const context = contextTemplate(subject.hook, {
      family: six === undefined ? AF_INET : AF_INET6,
      ...ends,
      protocol: protocolNumber(protocol, `${what}: protocol`),
      // Here the remote port has 16 bits.
      ...(remote === undefined
        ? {}
        : { remote_port: networkPort(parseEndpoint(remote, `${what}: remote`).port) }),
      ...input.context,
    });
    keepOneFamily(context);
    return { context };
  },
};

/** Of family and protocol the kernel keeps 16 bits, of the addresses those of the family (struct bpf_sk_lookup_kern). */
function keepOneFamily(context: Uint8Array): void {
  const view = new DataView(context.buffer);
  for (const offset of [LOOKUP.family, LOOKUP.protocol]) view.setUint16(offset + 2, 0, true);
  const six = view.getUint32(LOOKUP.family, true) === AF_INET6;
  for (const offset of [LOOKUP.remoteIp4, LOOKUP.localIp4]) {
    context.fill(0, six ? offset : offset + 4, six ? offset + 4 : offset + 20);
  }
}

// Offsets of struct sk_msg_md.
const MSG_DATA = 0;
const MSG_DATA_END = 8;
const MSG_SK = 72;
const MSG_SIZE = 68;

export const SK_MSG: Arranger = {
  takes: ["data", "local", "remote", "socket"],
  arrange(subject, input): Arrangement {
    const bytes = bytesOf(input.data);
    const context = contextTemplate(subject.hook, { ...endValues(subject, input), ...input.context });
    const start = subject.scratch.place(bytes);
    const message = {
      start,
      length: bytes.length,
      pieces: [bytes.length],
      replace: (changed: Uint8Array): number => subject.scratch.place(changed),
      reset: (): void => {
        message.start = start;
        message.length = bytes.length;
        message.pieces = [bytes.length];
      },
    };
    subject.state.message = message;
    setPointer(context, MSG_DATA, start);
    setPointer(context, MSG_DATA_END, start + bytes.length);
    setPointer(context, MSG_SK, placeSocket(subject, socketOf(input)));
    new DataView(context.buffer).setUint32(MSG_SIZE, bytes.length, true);
    return { context, result: () => ({ data: subject.scratch.memory.read(message.start, message.length) }) };
  },
};

// Offsets of struct sk_reuseport_md; ETH_P_IP and ETH_P_IPV6 in network order.
const REUSE_DATA = 0;
const REUSE_DATA_END = 8;
const REUSE_LEN = 16;
const REUSE_SK = 40;
const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;

export const SK_REUSEPORT: Arranger = {
  takes: ["data", "protocol", "local", "remote", "socket"],
  arrange(subject, input): Arrangement {
    const { protocol = IPPROTO_UDP, local } = input;
    const what = `program '${subject.name}'`;
    const bytes = bytesOf(input.data);
    const six = local !== undefined && parseEndpoint(local, `${what}: local`).ip.length === 16;
    const context = contextTemplate(subject.hook, {
      eth_protocol: six ? ETH_P_IPV6 : ETH_P_IP,
      ip_protocol: protocolNumber(protocol, `${what}: protocol`),
      ...input.context,
    });
    const start = subject.scratch.place(bytes);
    setPointer(context, REUSE_DATA, start);
    setPointer(context, REUSE_DATA_END, start + bytes.length);
    setPointer(context, REUSE_SK, placeSocket(subject, { protocol, ...socketOf(input) }));
    new DataView(context.buffer).setUint32(REUSE_LEN, bytes.length, true);
    return { context };
  },
};

// Offsets of __sk_buff; room for what helpers put before and behind the data.
const SKB_LEN = 0;
const SKB_PROTOCOL = 16;
const SKB_DATA = 76;
const SKB_DATA_END = 80;
const SKB_DATA_META = 140;
const SKB_SK = 168;
const SKB_ROOM = 256;

export const SK_SKB: Arranger = {
  takes: ["data", "local", "remote", "socket"],
  arrange(subject, input): Arrangement {
    const { scratch, hook } = subject;
    const bytes = bytesOf(input.data);
    const ends = endValues(subject, input);
    const context = contextTemplate(hook, { ...ends, ...input.context });
    const start = scratch.room(2 * SKB_ROOM + bytes.length);
    const data = start + SKB_ROOM;
    scratch.memory.write(data, bytes);
    const view = new DataView(context.buffer);
    view.setUint32(SKB_LEN, bytes.length, true);
    view.setUint32(SKB_PROTOCOL, ends["family"] === AF_INET6 ? ETH_P_IPV6 : ETH_P_IP, true);
    view.setUint32(SKB_DATA, data, true);
    view.setUint32(SKB_DATA_END, data + bytes.length, true);
    // The type does not show it; the packet's bounds are taken from it.
    view.setUint32(SKB_DATA_META, data, true);
    setPointer(context, SKB_SK, placeSocket(subject, socketOf(input)));
    return {
      context,
      buffer: { start, end: start + 2 * SKB_ROOM + bytes.length, data },
      result(after) {
        const words = new DataView(after.buffer, after.byteOffset);
        const from = words.getUint32(SKB_DATA, true);
        return { data: scratch.memory.read(from, Math.max(0, words.getUint32(SKB_DATA_END, true) - from)) };
      },
    };
  },
};

export const decoded = (subject: Subject, context: Uint8Array): Record<string, number | bigint | number[]> =>
  decodeContext(subject.hook, context);
