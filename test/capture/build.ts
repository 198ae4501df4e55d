/** Capture files made by hand, byte by byte, so that reading is tested without our own writer. */

export type Order = "little" | "big";

type Field = readonly ["u8" | "u16" | "u32" | "i32" | "u64" | "i64", number | bigint] | Uint8Array;

const WIDTH = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, i64: 8 } as const;

export function pack(order: Order, ...fields: Field[]): Uint8Array {
  const size = fields.reduce(
    (sum, field) => sum + (field instanceof Uint8Array ? field.length : WIDTH[field[0]]),
    0,
  );
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const little = order === "little";
  let at = 0;
  for (const field of fields) {
    if (field instanceof Uint8Array) {
      bytes.set(field, at);
      at += field.length;
      continue;
    }
    const [type, value] = field;
    if (type === "u8") view.setUint8(at, Number(value));
    else if (type === "u16") view.setUint16(at, Number(value), little);
    else if (type === "u64" || type === "i64")
      view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), little);
    else view.setUint32(at, Number(value), little);
    at += WIDTH[type];
  }
  return bytes;
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export function pad4(bytes: Uint8Array): Uint8Array {
  return concat(bytes, new Uint8Array(-bytes.length & 3));
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** Bytes that differ from each other and from packet to packet. */
export function payload(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31 + 1) & 0xff);
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}

export interface PcapOptions {
  magic?: number;
  major?: number;
  minor?: number;
  snaplen?: number;
  linktype?: number;
  order?: Order;
}

export function pcapHeader(options: PcapOptions = {}): Uint8Array {
  const {
    magic = 0xa1b2c3d4,
    major = 2,
    minor = 4,
    snaplen = 65535,
    linktype = 1,
    order = "little",
  } = options;
  return pack(
    order,
    ["u32", magic],
    ["u16", major],
    ["u16", minor],
    ["i32", 0],
    ["u32", 0],
    ["u32", snaplen],
    ["u32", linktype],
  );
}

export interface RecordOptions {
  seconds?: number;
  fraction?: number;
  captured?: number;
  original?: number;
  order?: Order;
  /** Bytes between header and data, as in modified files. */
  extra?: Uint8Array;
}

export function pcapRecord(data: Uint8Array, options: RecordOptions = {}): Uint8Array {
  const { seconds = 1, fraction = 2, order = "little", extra = new Uint8Array(0) } = options;
  const { captured = data.length, original = data.length } = options;
  return pack(order, ["u32", seconds], ["u32", fraction], ["u32", captured], ["u32", original], extra, data);
}

export interface BlockOptions {
  order?: Order;
  length?: number;
  trailer?: number;
}

export function block(type: number, body: Uint8Array, options: BlockOptions = {}): Uint8Array {
  const { order = "little" } = options;
  const padded = pad4(body);
  const { length = padded.length + 12 } = options;
  return pack(order, ["u32", type], ["u32", length], padded, ["u32", options.trailer ?? length]);
}

export function option(code: number, value: Uint8Array, order: Order = "little"): Uint8Array {
  return concat(pack(order, ["u16", code], ["u16", value.length]), pad4(value));
}

export function shb(
  options: { order?: Order; length?: bigint; major?: number; minor?: number; more?: Uint8Array } = {},
): Uint8Array {
  const { order = "little", length = -1n, major = 1, minor = 0, more = new Uint8Array(0) } = options;
  const body = pack(order, ["u32", 0x1a2b3c4d], ["u16", major], ["u16", minor], ["i64", length], more);
  return block(0x0a0d0d0a, body, { order });
}

export function idb(
  options: { order?: Order; linktype?: number; snaplen?: number; more?: Uint8Array } = {},
): Uint8Array {
  const { order = "little", linktype = 1, snaplen = 0, more = new Uint8Array(0) } = options;
  return block(1, pack(order, ["u16", linktype], ["u16", 0], ["u32", snaplen], more), { order });
}

export interface PacketOptions {
  order?: Order;
  id?: number;
  ticks?: bigint;
  captured?: number;
  original?: number;
  more?: Uint8Array;
}

export function epb(data: Uint8Array, options: PacketOptions = {}): Uint8Array {
  const { order = "little", id = 0, ticks = 1_000_002n, more = new Uint8Array(0) } = options;
  const { captured = data.length, original = data.length } = options;
  const body = pack(
    order,
    ["u32", id],
    ["u32", ticks >> 32n],
    ["u32", ticks & 0xffff_ffffn],
    ["u32", captured],
    ["u32", original],
    pad4(data),
    more,
  );
  return block(6, body, { order });
}

export function spb(data: Uint8Array, options: { order?: Order; original?: number } = {}): Uint8Array {
  const { order = "little", original = data.length } = options;
  return block(3, pack(order, ["u32", original], data), { order });
}

export function oldPacket(data: Uint8Array, options: PacketOptions = {}): Uint8Array {
  const { order = "little", id = 0, ticks = 1_000_002n, more = new Uint8Array(0) } = options;
  const { captured = data.length, original = data.length } = options;
  const body = pack(
    order,
    ["u16", id],
    ["u16", 0xffff],
    ["u32", ticks >> 32n],
    ["u32", ticks & 0xffff_ffffn],
    ["u32", captured],
    ["u32", original],
    pad4(data),
    more,
  );
  return block(2, body, { order });
}

/** Cuts bytes into chunks at the given places. */
export function* split(bytes: Uint8Array, cuts: Iterable<number>): Generator<Uint8Array> {
  let start = 0;
  for (const cut of cuts) {
    yield bytes.subarray(start, cut);
    start = cut;
  }
  yield bytes.subarray(start);
}

export function* everyBytes(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size);
}
