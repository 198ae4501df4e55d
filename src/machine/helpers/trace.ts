/** What programs print, and formats they fill in. */
import { BpfError } from "../../errors.ts";
import { ERRNO } from "../../uapi/index.ts";
import { SPACE_KERNEL, SPACE_USER } from "../../core/layout.ts";
import { type FilledFormat, PRINT_BYTES, fillFormat } from "./printf.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

/** A program may pass three values to bpf_trace_printk: that is all the registers there are. */
const TRACE_ARGUMENTS = [3, 4, 5] as const;
/** linux/bpf.h MAX_BPRINTF_VARARGS. */
const MAX_VARARGS = 12;
/** No format is that long; one that has no NUL by then is none. */
const MAX_FORMAT = 1 << 16;
/** Of the page buffer that an iterator's output goes through (kernel/bpf/bpf_iter.c, bpf_seq_read). */
const SEQ_BYTES = 8 * 4096;

/** What may be read of an address: of the kernel's memory, of a process's, or of whichever it is. */
const OTHERS = { s: 0, ks: SPACE_USER, us: SPACE_KERNEL } as const;

/** A format filled in with what a program may read, or a negated errno. */
export function fill(
  helperWorld: HelperWorld,
  format: string,
  size: number,
  values: readonly bigint[],
): FilledFormat | number {
  const { memory, world, core } = helperWorld;
  const mayRead = (address: bigint, length: number, others: number): boolean =>
    core.may_probe(address, length) !== 0 && (others === 0 || core.space_of(address) !== others);
  return fillFormat(format, size, {
    arguments: values,
    string(address, limit, of) {
      if (!mayRead(address, 1, OTHERS[of])) return undefined;
      const from = Number(address);
      const bytes = memory.u8.subarray(from, from + limit - 1);
      const stop = bytes.indexOf(0);
      const end = stop < 0 ? bytes.length : stop;
      return mayRead(address, end, OTHERS[of]) ? bytes.slice(0, end) : undefined;
    },
    bytes: (address, length) =>
      mayRead(address, length, SPACE_USER) ? memory.read(Number(address), length) : undefined,
    symbol: (...asked) => world.symbolAt(...asked),
  });
}

/** The text up to a NUL, each byte as a character; undefined if there is none within `limit` bytes. */
export function textAt(
  { memory }: HelperWorld,
  start: number,
  limit: number = MAX_FORMAT,
): string | undefined {
  const bytes = memory.u8.subarray(start, Math.min(start + limit, memory.u8.length));
  const nul = bytes.indexOf(0);
  if (nul < 0) return undefined;
  let text = "";
  for (const byte of bytes.subarray(0, nul)) text += String.fromCharCode(byte);
  return text;
}

/** The values of a call that hands over an array of them; undefined for lengths that the kernel refuses. */
export function valuesAt({ memory }: HelperWorld, start: number, length: number): bigint[] | undefined {
  if ((length & 7) !== 0 || length > MAX_VARARGS * 8 || (length !== 0 && start === 0)) return undefined;
  return Array.from({ length: length / 8 }, (_, index) => memory.u64(start + 8 * index));
}

function print(
  world: HelperWorld,
  format: string | undefined,
  values: readonly bigint[] | undefined,
): number {
  if (format === undefined || values === undefined) return -ERRNO.EINVAL;
  const filled = fill(world, format, PRINT_BYTES, values);
  if (typeof filled === "number") return filled;
  world.trace(new TextDecoder().decode(filled.bytes).replace(/\n$/, ""));
  return filled.length;
}

/** The output of the iterator whose struct seq_file it is. */
function seqWrite(world: HelperWorld, args: HelperArguments, bytes: Uint8Array): number {
  world.world.writeSeq(args.u32(1), bytes);
  return 0;
}

export const TRACE: readonly HostHelper[] = [
  {
    name: "trace_printk",
    args: 5,
    call: (world, args) =>
      print(
        world,
        textAt(world, args.u32(1), args.u32(2)),
        TRACE_ARGUMENTS.map((register) => args.u64(register)),
      ),
  },
  {
    name: "trace_vprintk",
    args: 4,
    call: (world, args) =>
      print(world, textAt(world, args.u32(1), args.u32(2)), valuesAt(world, args.u32(3), args.u32(4))),
  },
  {
    // The result counts the NUL and what did not fit.
    name: "snprintf",
    args: 5,
    call(world, args) {
      const [to, size] = [args.u32(1), args.u32(2)];
      const values = valuesAt(world, args.u32(4), args.u32(5));
      const format = textAt(world, args.u32(3), MAX_FORMAT);
      if (values === undefined || format === undefined) return -ERRNO.EINVAL;
      const filled = fill(world, format, size, values);
      if (typeof filled === "number") return filled;
      if (size > 0) world.memory.write(to, Uint8Array.of(...filled.bytes, 0));
      return filled.length + 1;
    },
  },
  {
    name: "seq_printf",
    args: 5,
    call(world, args) {
      const values = valuesAt(world, args.u32(4), args.u32(5));
      const format = textAt(world, args.u32(2), args.u32(3));
      if (values === undefined || format === undefined) return -ERRNO.EINVAL;
      const filled = fill(world, format, SEQ_BYTES, values);
      if (typeof filled === "number") return filled;
      return filled.length >= SEQ_BYTES ? -ERRNO.EOVERFLOW : seqWrite(world, args, filled.bytes);
    },
  },
  {
    name: "seq_write",
    args: 3,
    call: (world, args) => seqWrite(world, args, world.memory.read(args.u32(2), args.u32(3))),
  },
  {
    name: "d_path",
    args: 3,
    call({ memory, world }, args) {
      const [path, to, size] = [args.u32(1), args.u32(2), args.u32(3)];
      if (size === 0) return 0;
      const text = world.paths.get(path);
      if (text === undefined) {
        throw new BpfError(
          "helper",
          `helper bpf_d_path: nothing is known of the struct path at 0x${path.toString(16)}; name it: machine.world.paths.set(ADDRESS, "/etc/passwd")`,
        );
      }
      const bytes = new TextEncoder().encode(`${text}\0`);
      if (bytes.length > size) return -ERRNO.ENAMETOOLONG;
      memory.write(to, bytes);
      return bytes.length;
    },
  },
];
