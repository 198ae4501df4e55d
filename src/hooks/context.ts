import { BpfError } from "../errors.ts";
import { RIGHT_READ, RIGHT_WRITE, SKB_IFINDEX, XDP_INGRESS_IFINDEX } from "../core/layout.ts";
import type { ContextField, ContextLayout, Hook } from "./types.ts";

/** Values of context fields by name; arrays for array fields, bigint for 64-bit ones. */
export type ContextValues = Readonly<Record<string, number | bigint | readonly number[]>>;

/** The loopback device, on which BPF_PROG_TEST_RUN lets packets arrive. */
const LOOPBACK_IFINDEX = 1;

/**
 * The bytes that a context starts from: the kernel's defaults, then the caller's values. Fields that follow from the
 * packet (data, len, protocol, ...) are set when the program runs and are refused here.
 *
 * @throws BpfError code "context": unknown or computed field, or a value that does not fit; lists the fields.
 * @example
 * contextTemplate(hookOf("xdp")!, { ingress_ifindex: 7 });
 */
export function contextTemplate(hook: Hook, values: ContextValues = {}): Uint8Array {
  const { context } = hook;
  const bytes = new Uint8Array(context.size);
  const view = new DataView(bytes.buffer);
  if (hook.packet !== undefined) {
    view.setUint32(hook.type === "xdp" ? XDP_INGRESS_IFINDEX : SKB_IFINDEX, LOOPBACK_IFINDEX, true);
  }
  for (const [name, value] of Object.entries(values)) {
    const field = context.fields.find((row) => row.name === name);
    if (field === undefined || field.input !== true) {
      const settable = context.fields.filter((row) => row.input === true).map((row) => row.name);
      const why = field === undefined ? "no such field" : "is computed from the packet";
      throw new BpfError(
        "context",
        `context ${context.struct}.${name}: ${why}; settable are ${settable.join(", ")}`,
      );
    }
    // A packet that names no device is the loopback's (net/bpf/test_run.c: convert___skb_to_skb).
    if (field.name === "ifindex" && value === 0 && hook.packet !== undefined) continue;
    writeField(view, context, field, value);
  }
  return bytes;
}

function writeField(
  view: DataView,
  { struct }: ContextLayout,
  { name, offset, size, count, bits }: ContextField,
  value: number | bigint | readonly number[],
): void {
  const elements = typeof value === "number" || typeof value === "bigint" ? [value] : value;
  if (elements.length > (count ?? 1)) {
    throw new BpfError("context", `context ${struct}.${name}: ${elements.length} values for ${count ?? 1}`);
  }
  elements.forEach((element, index) => {
    const at = offset + index * size;
    const width = bits ?? size * 8;
    const limit = 1n << BigInt(width);
    const integer = typeof element === "bigint" || Number.isInteger(element) ? BigInt(element) : undefined;
    if (integer === undefined || integer >= limit || integer < -limit / 2n) {
      throw new BpfError(
        "context",
        `context ${struct}.${name}: ${String(element)} does not fit ${width} bits`,
      );
    }
    if (size === 8) view.setBigUint64(at, BigInt.asUintN(64, integer), true);
    else if (size === 4) view.setUint32(at, Number(BigInt.asUintN(32, integer)), true);
    else if (size === 2) view.setUint16(at, Number(BigInt.asUintN(16, integer)), true);
    else view.setUint8(at, Number(BigInt.asUintN(8, integer)));
  });
}

/** A context's bytes as named values: what a run left there. 64-bit fields are bigint. */
export function decodeContext(
  { context }: Hook,
  bytes: Uint8Array,
): Record<string, number | bigint | number[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = (at: number, size: number, signed: boolean): number | bigint => {
    if (size === 8) return view.getBigUint64(at, true);
    if (size === 4) return signed ? view.getInt32(at, true) : view.getUint32(at, true);
    return size === 2 ? view.getUint16(at, true) : view.getUint8(at);
  };
  return Object.fromEntries(
    context.fields
      .filter(({ padding }) => padding !== true)
      .map(({ name, offset, size, count, bits, signed = false }) => [
        name,
        count === undefined
          ? read(offset, bits === undefined ? size : bits / 8, signed)
          : Array.from({ length: count }, (_, index) => Number(read(offset + index * size, size, signed))),
      ]),
  );
}

/**
 * What a sandboxed program may do with each byte of a context (RIGHT_ constants): read all; write what a verified program might
 * write, for the engines rely on the other fields.
 */
export function contextRights({ size, fields, open }: ContextLayout): Uint8Array {
  const rights = new Uint8Array(size).fill(RIGHT_READ);
  if (open?.write === true) rights.fill(RIGHT_READ | RIGHT_WRITE, open.from, open.to);
  for (const { offset, size: bytes, count = 1, write } of fields) {
    if (write !== undefined) rights.fill(RIGHT_READ | RIGHT_WRITE, offset, offset + bytes * count);
  }
  return rights;
}
