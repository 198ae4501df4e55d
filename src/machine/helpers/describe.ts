/** bpf_snprintf_btf and bpf_seq_printf_btf: structures of the kernel as text (kernel/trace/bpf_trace.c). */
import { type Btf, showValue } from "../../btf/index.ts";
import { EXEC_PROG } from "../../core/layout.ts";
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { mayRead } from "./memory.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

// uapi/linux/bpf.h struct btf_ptr: address, type, flags.
const POINTER_SIZE = 16;
const TYPE_AT = 8;
const ALL_FLAGS = 0xfn;

/** The types that the numbers in a program are of: those that it is fitted to. */
export function typesOf(helper: HelperName, world: HelperWorld, { exec }: HelperArguments): Btf {
  const [types] = [...world.programAt(world.memory.u32(exec + EXEC_PROG)).types, ...world.types];
  if (types !== undefined) return types;
  throw notInWorld(
    helper,
    "the machine has no types of the kernel",
    'give it some: Machine.create({ btf: parseBtf(readFileSync("/sys/kernel/btf/vmlinux")) })',
  );
}

/** The text, or a negated errno. `from` is the register of the struct btf_ptr, its size and the flags follow. */
function describe(
  helper: HelperName,
  world: HelperWorld,
  args: HelperArguments,
  from: number,
): string | number {
  const { memory, core } = world;
  const [pointer, size, flags] = [args.u32(from), args.u32(from + 1), args.u64(from + 2)];
  if ((flags & ~ALL_FLAGS) !== 0n || size !== POINTER_SIZE) return -ERRNO.EINVAL;
  const type = memory.u32(pointer + TYPE_AT);
  if (type === 0) return -ERRNO.EINVAL;
  const types = typesOf(helper, world, args);
  if (type >= types.count) return -ERRNO.ENOENT;
  const start = memory.u64(pointer);
  const text = showValue(types, type, Number(flags), {
    bytes: (offset, length) => {
      const at = start + BigInt(offset);
      return mayRead(core, at, length) ? memory.read(Number(at), length) : undefined;
    },
    // The kernel hides addresses behind a random number; as for %p they are themselves here.
    pointer: (value) => value.toString(16).padStart(16, "0"),
  });
  return text ?? -ERRNO.EFAULT;
}

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

export const DESCRIBE: readonly HostHelper[] = [
  {
    // The result counts what did not fit, but no NUL.
    name: "snprintf_btf",
    args: 5,
    call(world, args) {
      const text = describe("snprintf_btf", world, args, 3);
      if (typeof text === "number") return text;
      const room = args.u32(2);
      if (room > 0) world.memory.write(args.u32(1), latin1(`${text.slice(0, room - 1)}\0`));
      return text.length;
    },
  },
  {
    name: "seq_printf_btf",
    args: 4,
    call(world, args) {
      const text = describe("seq_printf_btf", world, args, 2);
      if (typeof text === "number") return text;
      world.world.writeSeq(args.u32(1), latin1(text));
      return 0;
    },
  },
];
