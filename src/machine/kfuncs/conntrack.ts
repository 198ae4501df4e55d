/**
 * Tracked connections (net/netfilter/nf_conntrack_bpf.c, nf_nat_bpf.c). The world's are found by both directions of their packets; what
 * a program holds is a struct nf_conn of the types that the machine knows.
 */
import { CTX_KIND, KIND_XDP } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { type HelperArguments, type HelperWorld, notInWorld } from "../helpers/types.ts";
import { BOTH_DIRECTIONS, type Connection, type ConnectionEnds } from "../world/connections.ts";
import type { HostKfunc } from "./types.ts";

// struct bpf_ct_opts, of 16 bytes; of 12 before Linux 6.11.
const OPTS = {
  netns: 0,
  error: 4,
  protocol: 8,
  direction: 9,
  zone: 10,
  zoneDirections: 12,
  reserved: 13,
  bytes: 16,
  old: 12,
} as const;
const PROTOCOLS: Readonly<Record<number, "tcp" | "udp">> = { 6: "tcp", 17: "udp" };
const TUPLE4 = 12;
const TUPLE6 = 36;

/** IPS_ bits of uapi/linux/netfilter/nf_conntrack_common.h. */
const STATUS = {
  expected: 1,
  seenReply: 2,
  assured: 4,
  confirmed: 8,
  dying: 512,
  fixedTimeout: 1024,
} as const;
/** IPS_UNCHANGEABLE_MASK: what nobody may switch. */
const UNCHANGEABLE = 0x19 | 0x180 | STATUS.dying | 0x1000 | 0x2000 | 0x4000;

/** A NAT manipulation that a program has asked for. */
const MANIPULATIONS = ["source", "destination"] as const;

function tupleAt({ memory }: HelperWorld, at: number, length: number): ConnectionEnds | undefined {
  if (length !== TUPLE4 && length !== TUPLE6) return undefined;
  const width = length === TUPLE4 ? 4 : 16;
  const end = (ip: number, port: number): ConnectionEnds["source"] => ({
    ip: memory.read(at + ip, width),
    port: memory.view.getUint16(at + port),
  });
  return { source: end(0, 2 * width), destination: end(width, 2 * width + 2) };
}

interface Question extends ConnectionEnds {
  readonly protocol: "tcp" | "udp";
  readonly zone: number;
  readonly zoneDirections: number;
}

/** What is asked for, or the error that is told in the options. */
function question(world: HelperWorld, args: HelperArguments): Question | number {
  const { memory } = world;
  const [tuple, tupleSize, opts, size] = [args.u32(2), args.u32(3), args.u32(4), args.u32(5)];
  if (opts === 0 || tuple === 0 || (size !== OPTS.bytes && size !== OPTS.old)) return -ERRNO.EINVAL;
  const zone = memory.view.getUint16(opts + OPTS.zone, true);
  if (size === OPTS.old ? zone !== 0 : memory.read(opts + OPTS.reserved, 3).some((byte) => byte !== 0))
    return -ERRNO.EINVAL;
  const protocol = PROTOCOLS[memory.view.getUint8(opts + OPTS.protocol)];
  if (protocol === undefined) return -ERRNO.EPROTO;
  const netns = memory.view.getInt32(opts + OPTS.netns, true);
  if (netns < -1) return -ERRNO.EINVAL;
  const ends = tupleAt(world, tuple, tupleSize);
  if (ends === undefined) return -ERRNO.EAFNOSUPPORT;
  // No other namespace has a number here.
  if (netns >= 0) return -ERRNO.ENONET;
  if (size === OPTS.old) return { ...ends, protocol, zone, zoneDirections: BOTH_DIRECTIONS };
  // What is not said is put in.
  const at = opts + OPTS.zoneDirections;
  const zoneDirections = memory.u8[at] || BOTH_DIRECTIONS;
  memory.u8[at] = zoneDirections;
  return { ...ends, protocol, zone, zoneDirections };
}

function fail({ memory }: HelperWorld, args: HelperArguments, errno: number): bigint {
  if (args.u32(4) !== 0) memory.setU32(args.u32(4) + OPTS.error, errno >>> 0);
  return 0n;
}

/** The structure that stands for a connection: made when it is first asked for. */
function place(world: HelperWorld, connection: Connection): bigint {
  if (connection.object === undefined) {
    const object = world.alloc("nf_conn", {});
    if (object === undefined) {
      throw notInWorld(
        "ct_lookup",
        "the machine has no struct nf_conn",
        "give it types: Machine.create({ btf })",
      );
    }
    connection.object = object;
    write(connection);
  }
  return BigInt(connection.object.address);
}

/** Members that the type has are written; programs that use CO-RE declare those that they look at. */
function write({ object, status, timeout, mark, zone }: Connection): void {
  for (const [name, value] of Object.entries({ status, timeout, mark, zone: { id: zone } })) {
    if (object?.has(name) === true) object.set({ [name]: value });
  }
}

const isXdp = ({ memory }: HelperWorld, args: HelperArguments): boolean =>
  memory.u32(args.u32(1) + CTX_KIND) === KIND_XDP;

const lookup =
  (xdp: boolean): HostKfunc["call"] =>
  (world, args) => {
    const asked = isXdp(world, args) === xdp ? question(world, args) : -ERRNO.EINVAL;
    if (typeof asked === "number") return fail(world, args, asked);
    const found = world.world.connections.find(asked);
    if (found === undefined) return fail(world, args, -ERRNO.ENOENT);
    world.memory.u8[args.u32(4) + OPTS.direction] = found.reply ? 1 : 0;
    return place(world, found.connection);
  };

/** Seconds that a new connection lives unless it is told otherwise. */
const NEW_TIMEOUT = 10;

const allocate =
  (xdp: boolean): HostKfunc["call"] =>
  (world, args) => {
    const asked = isXdp(world, args) === xdp ? question(world, args) : -ERRNO.EINVAL;
    if (typeof asked === "number") return fail(world, args, asked);
    const { protocol, source, destination, zone, zoneDirections } = asked;
    const connection = world.world.connections.create({
      protocol,
      ends: { source, destination },
      zone,
      zoneDirections,
      timeout: NEW_TIMEOUT * world.world.hz,
    });
    return place(world, connection);
  };

function connectionAt(world: HelperWorld, args: HelperArguments): Connection | undefined {
  const connection = world.world.connections.at(args.u32(1));
  // Programs write to its mark.
  if (connection?.object?.has("mark") === true) connection.mark = Number(connection.object.member("mark"));
  return connection;
}

/** Bits are only ever added, and some of them never. */
function changeStatus(world: HelperWorld, args: HelperArguments): number {
  const connection = connectionAt(world, args);
  if (connection === undefined) return -ERRNO.EINVAL;
  const wanted = args.u32(2);
  const changed = connection.status ^ wanted;
  if ((changed & (STATUS.expected | STATUS.confirmed | STATUS.dying)) !== 0) return -ERRNO.EBUSY;
  for (const bit of [STATUS.seenReply, STATUS.assured])
    if ((changed & bit) !== 0 && (wanted & bit) === 0) return -ERRNO.EBUSY;
  connection.status |= wanted & ~UNCHANGEABLE;
  write(connection);
  return 0;
}

function setTimeout(world: HelperWorld, args: HelperArguments): number {
  const connection = connectionAt(world, args);
  if (connection === undefined) return -ERRNO.EINVAL;
  if ((connection.status & STATUS.fixedTimeout) !== 0) return -ERRNO.EPERM;
  // Milliseconds become ticks.
  connection.timeout = Math.ceil((args.u32(2) * world.world.hz) / 1000);
  write(connection);
  return 0;
}

export const CONNTRACK: readonly HostKfunc[] = [
  { name: "bpf_xdp_ct_lookup", call: lookup(true) },
  { name: "bpf_skb_ct_lookup", call: lookup(false) },
  { name: "bpf_xdp_ct_alloc", call: allocate(true) },
  { name: "bpf_skb_ct_alloc", call: allocate(false) },
  {
    // Somebody else's with the same ends is in the way: the new one is gone then.
    name: "bpf_ct_insert_entry",
    call(world, args) {
      const connection = connectionAt(world, args);
      if (connection === undefined || !world.world.connections.insert(connection)) return 0n;
      connection.status |= STATUS.confirmed;
      write(connection);
      return args.u64(1);
    },
  },
  { name: "bpf_ct_release", call: () => undefined },
  { name: "bpf_ct_set_timeout", call: (world, args) => void setTimeout(world, args) },
  { name: "bpf_ct_change_timeout", call: setTimeout },
  { name: "bpf_ct_set_status", call: changeStatus },
  { name: "bpf_ct_change_status", call: changeStatus },
  {
    name: "bpf_ct_set_nat_info",
    call(world, args) {
      const connection = connectionAt(world, args);
      const manipulation = MANIPULATIONS[args.u32(4)];
      if (connection === undefined || manipulation === undefined || args.i32(3) < 0) return -ERRNO.EINVAL;
      const width = connection.ends.source.ip.length;
      connection.nat[manipulation] = {
        ip: world.memory.read(args.u32(2), width),
        port: args.u32(3) & 0xffff,
      };
      return 0;
    },
  },
];
