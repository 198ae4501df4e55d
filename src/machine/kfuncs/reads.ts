/** Memory of the kernel and of processes, read into dynptrs (kernel/trace/bpf_trace.c), and texts of other processes. */
import { SPACE_KERNEL, SPACE_USER } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { locateDynptr, readDynptr } from "../helpers/dynptr.ts";
import { mayRead } from "../helpers/memory.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import type { HostKfunc } from "./types.ts";

const PAD_ZEROS = 1n;

/** Where the bytes are to go: a place of the dynptr, or a negated errno. */
function target(world: HelperWorld, args: HelperArguments): number {
  const dynptr = readDynptr(world, args.u32(1));
  if (dynptr === undefined) return -ERRNO.E2BIG;
  const at = locateDynptr(world, dynptr, args.u32(2), args.u32(3));
  if (at === -ERRNO.E2BIG) return at;
  return dynptr.readOnly || at <= 0 ? -ERRNO.EINVAL : at;
}

/** All processes' memory lies in the machine's, so the one that is named need only exist. */
function exists({ world }: HelperWorld, args: HelperArguments, register: number | undefined): boolean {
  return register === undefined || world.tasks.byObject(args.u32(register)) !== undefined;
}

function copy({ memory, core }: HelperWorld, to: number, from: bigint, size: number): number {
  if (!mayRead(core, from, size)) return -ERRNO.EFAULT;
  memory.u8.copyWithin(to, Number(from), Number(from) + size);
  return 0;
}

/** With its NUL, which is there even if the text was cut off; how many bytes. */
export function copyText({ memory, core }: HelperWorld, to: number, from: bigint, size: number): number {
  if (size === 0) return 0;
  if (!mayRead(core, from, 1)) return -ERRNO.EFAULT;
  const start = Number(from);
  const nul = memory.u8.subarray(start, start + size - 1).indexOf(0);
  const length = nul < 0 ? size - 1 : nul;
  if (!mayRead(core, from, length)) return -ERRNO.EFAULT;
  memory.u8.copyWithin(to, start, start + length);
  memory.u8[to + length] = 0;
  return length + 1;
}

/** What is known to be the kernel's is no process's. */
const ofUser =
  (read: typeof copy): typeof copy =>
  (world, to, from, size) =>
    size !== 0 && world.core.space_of(from) === SPACE_KERNEL ? -ERRNO.EFAULT : read(world, to, from, size);

export const copyUserText: typeof copy = ofUser(copyText);

// The lowest address of the kernel's half (core/assembly/helpers/probe.ts).
const KERNEL_START = 0xffff800000000000n;

/** Of the kernel's memory only addresses of the kernel are tried. */
const ofKernel =
  (read: typeof copy): typeof copy =>
  (world, to, from, size) => {
    const theirs = size !== 0 && world.core.space_of(from) === SPACE_USER;
    const result = theirs ? -ERRNO.EFAULT : read(world, to, from, size);
    return result === -ERRNO.EFAULT && from < KERNEL_START ? -ERRNO.ERANGE : result;
  };

const reader = (name: string, read: typeof copy, task?: number): HostKfunc => ({
  name,
  call(world, args) {
    const to = target(world, args);
    if (to < 0) return to;
    return exists(world, args, task) ? read(world, to, args.u64(4), args.u32(3)) : -ERRNO.EFAULT;
  },
});

export const READS: readonly HostKfunc[] = [
  reader("bpf_probe_read_kernel_dynptr", ofKernel(copy)),
  reader("bpf_probe_read_user_dynptr", ofUser(copy)),
  reader("bpf_copy_from_user_dynptr", ofUser(copy)),
  reader("bpf_copy_from_user_task_dynptr", ofUser(copy), 5),
  reader("bpf_probe_read_kernel_str_dynptr", ofKernel(copyText)),
  reader("bpf_probe_read_user_str_dynptr", copyUserText),
  reader("bpf_copy_from_user_str_dynptr", copyUserText),
  reader("bpf_copy_from_user_task_str_dynptr", copyUserText, 5),
  {
    name: "bpf_copy_from_user_task_str",
    call(world, args) {
      const [to, size, flags] = [args.u32(1), args.u32(2), args.u64(5)];
      if ((flags & ~PAD_ZEROS) !== 0n) return -ERRNO.EINVAL;
      if (size === 0) return 0;
      const { u8 } = world.memory;
      const length = exists(world, args, 4) ? copyUserText(world, to, args.u64(3), size) : -ERRNO.EFAULT;
      if (length < 0) u8.fill(0, to, to + size);
      else if (flags === PAD_ZEROS) u8.fill(0, to + length, to + size);
      return length;
    },
  },
];
