/**
 * Files, their extended attributes and paths, keys (fs/bpf_fs_kfuncs.c, kernel/trace/bpf_trace.c). The world knows files by the address of
 * the structure that a program holds.
 */
import { ERRNO } from "../../uapi/index.ts";
import { locateDynptr, readDynptr } from "../helpers/dynptr.ts";
import { type HelperArguments, type HelperWorld, notInWorld } from "../helpers/types.ts";
import type { HostKfunc } from "./types.ts";

const USER = "user.";
const BPF = "security.bpf.";
// uapi/linux/xattr.h.
const CREATE = 1;
const REPLACE = 2;
/** uapi/linux/limits.h XATTR_NAME_MAX, and its NUL. */
const NAME_LIMIT = 256;

function nameAt({ memory }: HelperWorld, address: number): string {
  const bytes = memory.u8.subarray(address, address + NAME_LIMIT);
  const nul = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.slice(0, nul < 0 ? bytes.length : nul));
}

function attributesOf(kfunc: string, { world }: HelperWorld, address: number): Map<string, Uint8Array> {
  const found = world.xattrs.get(address);
  if (found !== undefined) return found;
  throw notInWorld(
    kfunc,
    `nothing is known of the attributes of what lies at 0x${address.toString(16)}`,
    'say which it has: machine.world.xattrs.set(ADDRESS, new Map([["user.name", bytes]]))',
  );
}

/** Bytes of the value, copied as far as there is room; without room only their number. */
function get(kfunc: string, prefixes: readonly string[]): HostKfunc {
  return {
    name: `bpf_${kfunc}`,
    call(world, args) {
      const name = nameAt(world, args.u32(2));
      const dynptr = readDynptr(world, args.u32(3));
      if (dynptr === undefined || dynptr.readOnly) return -ERRNO.EINVAL;
      const to = locateDynptr(world, dynptr, 0, dynptr.size);
      if (to <= 0) return -ERRNO.EINVAL;
      if (!prefixes.some((prefix) => name.startsWith(prefix))) return -ERRNO.EPERM;
      const value = attributesOf(kfunc, world, args.u32(1)).get(name);
      if (value === undefined) return -ERRNO.ENODATA;
      if (dynptr.size === 0) return value.length;
      if (dynptr.size < value.length) return -ERRNO.ERANGE;
      world.memory.write(to, value);
      return value.length;
    },
  };
}

function setAttribute(world: HelperWorld, args: HelperArguments): number {
  const [name, flags] = [nameAt(world, args.u32(2)), args.u32(4)];
  const dynptr = readDynptr(world, args.u32(3));
  const from = dynptr === undefined ? -1 : locateDynptr(world, dynptr, 0, dynptr.size);
  if (dynptr === undefined || from <= 0) return -ERRNO.EINVAL;
  if (!name.startsWith(BPF)) return -ERRNO.EPERM;
  const attributes = attributesOf("set_dentry_xattr", world, args.u32(1));
  if ((flags & ~(CREATE | REPLACE)) !== 0) return -ERRNO.EINVAL;
  if ((flags & CREATE) !== 0 && attributes.has(name)) return -ERRNO.EEXIST;
  if ((flags & REPLACE) !== 0 && !attributes.has(name)) return -ERRNO.ENODATA;
  attributes.set(name, world.memory.read(from, dynptr.size));
  return 0;
}

/** VERIFY_USE_PLATFORM_KEYRING of linux/verification.h: the highest number of a keyring of the system. */
const LAST_KEYRING = 2n;
const LOOKUP_FLAGS = 3n;
/** struct bpf_key: a pointer and whether it counts. */
const KEY_BYTES = 16;

const key = ({ heap }: HelperWorld, { exec }: HelperArguments, known: boolean): bigint =>
  known ? BigInt(heap.allocateKernel("bpf_key", KEY_BYTES, exec)) : 0n;

export const FILES: readonly HostKfunc[] = [
  get("get_file_xattr", [USER, BPF]),
  get("get_dentry_xattr", [USER, BPF]),
  get("cgroup_read_xattr", [USER]),
  { name: "bpf_set_dentry_xattr", call: setAttribute },
  {
    name: "bpf_remove_dentry_xattr",
    call(world, args) {
      const name = nameAt(world, args.u32(2));
      if (!name.startsWith(BPF)) return -ERRNO.EPERM;
      return attributesOf("remove_dentry_xattr", world, args.u32(1)).delete(name) ? 0 : -ERRNO.ENODATA;
    },
  },
  {
    name: "bpf_path_d_path",
    call({ memory, world }, args) {
      const [path, to, size] = [args.u32(1), args.u32(2), args.u32(3)];
      if (size === 0) return -ERRNO.EINVAL;
      const text = world.paths.get(path);
      if (text === undefined) {
        throw notInWorld(
          "path_d_path",
          `nothing is known of the struct path at 0x${path.toString(16)}`,
          'name it: machine.world.paths.set(ADDRESS, "/etc/passwd")',
        );
      }
      const bytes = new TextEncoder().encode(`${text}\0`);
      if (bytes.length > size) return -ERRNO.ENAMETOOLONG;
      memory.write(to, bytes);
      return bytes.length;
    },
  },
  {
    // NULL of a thread of the kernel.
    name: "bpf_get_task_exe_file",
    call({ world }, args) {
      const task = world.tasks.byObject(args.u32(1));
      if (task === undefined) return 0n;
      if (task.exe !== undefined) return BigInt(task.exe);
      throw notInWorld(
        "get_task_exe_file",
        `nothing is known of the file that task ${task.pid} runs`,
        "give the address of its struct file, or 0: world: { tasks: [{ pid, exe: ADDRESS }] }",
      );
    },
  },
  { name: "bpf_put_file", call: () => undefined },
  {
    name: "bpf_lookup_user_key",
    call(world, args) {
      if ((args.u64(2) & ~LOOKUP_FLAGS) !== 0n) return 0n;
      const { keys } = world.world;
      if (keys !== undefined) return key(world, args, keys.includes(args.i32(1)));
      throw notInWorld(
        "lookup_user_key",
        "there are no keys",
        "say which there are: world: { keys: [SERIAL] }",
      );
    },
  },
  { name: "bpf_lookup_system_key", call: (world, args) => key(world, args, args.u64(1) <= LAST_KEYRING) },
  { name: "bpf_key_put", call: ({ heap }, args) => heap.release(args.u32(1)) },
];
