/** Files and programs that are about to run, as security modules ask about them (kernel/bpf/bpf_lsm.c, security/integrity). */
import { findMember, sizeOf } from "../../btf/index.ts";
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { Refusal } from "../handles.ts";
import { typesOf } from "./describe.ts";
import { mayRead } from "./memory.ts";
import { type HostHelper, notInWorld } from "./types.ts";

/** enum hash_algo of uapi/linux/hash_info.h. */
const ALGORITHMS: readonly string[] = [
  "md4",
  "md5",
  "sha1",
  "rmd160",
  "sha256",
  "sha384",
  "sha512",
  "sha224",
];

/** The number of the algorithm; the digest goes to the program's buffer, cut off where that ends. */
function digest(name: HelperName): HostHelper {
  return {
    name,
    args: 3,
    call({ memory, world }, args) {
      const [object, to, size] = [args.u32(1), args.u32(2), args.u32(3)];
      const found = world.digests.get(object);
      if (found === undefined) {
        const what = name === "ima_file_hash" ? "file" : "inode";
        throw notInWorld(
          name,
          `nothing is known of what was measured of the ${what} at 0x${object.toString(16)}`,
          `say it: machine.world.digests.set(ADDRESS, { algorithm: "sha256", digest }), or null if nothing was`,
        );
      }
      if (found === null) return -ERRNO.EOPNOTSUPP;
      const algorithm = ALGORITHMS.indexOf(found.algorithm);
      if (algorithm < 0) {
        throw notInWorld(
          name,
          `'${found.algorithm}' is no algorithm of the kernel's`,
          `name one of ${ALGORITHMS.join(", ")}`,
        );
      }
      memory.write(to, found.digest.subarray(0, size));
      return algorithm;
    },
  };
}

const SECURE_EXEC = 1n;

export const SECURITY: readonly HostHelper[] = [
  digest("ima_inode_hash"),
  digest("ima_file_hash"),
  {
    name: "bprm_opts_set",
    args: 2,
    call(world, args) {
      const flags = args.u64(2);
      if ((flags & ~SECURE_EXEC) !== 0n) return -ERRNO.EINVAL;
      const types = typesOf("bprm_opts_set", world, args);
      const [type] = types.find("linux_binprm", "struct");
      const member = type === undefined ? undefined : findMember(types, type.id, "secureexec");
      if (member === undefined) {
        throw notInWorld(
          "bprm_opts_set",
          "the types have no struct linux_binprm with a member secureexec",
          "give the kernel's types: Machine.create({ btf })",
        );
      }
      const { u8 } = world.memory;
      const at = args.u32(1) + (member.bitOffset >>> 3);
      if (!mayRead(world.core, BigInt(args.u32(1)), sizeOf(types, type?.id ?? 0)))
        throw new Refusal(
          `bpf_bprm_opts_set: there is no struct linux_binprm at 0x${args.u32(1).toString(16)}`,
        );
      const bit = 1 << (member.bitOffset & 7);
      u8[at] = flags === 0n ? (u8[at] as number) & ~bit : (u8[at] as number) | bit;
      return 0;
    },
  },
  {
    // NULL for what is no socket's file.
    name: "sock_from_file",
    args: 1,
    call({ world }, args) {
      const file = args.u32(1);
      const socket = world.fileSockets.get(file);
      if (socket !== undefined) return BigInt(socket ?? 0);
      throw notInWorld(
        "sock_from_file",
        `nothing is known of the file at 0x${file.toString(16)}`,
        "say it: machine.world.fileSockets.set(ADDRESS, ADDRESS_OF_ITS_STRUCT_SOCKET), or 0 if it is no socket's",
      );
    },
  },
  {
    // No segment leaves here; the world notes it.
    name: "tcp_send_ack",
    args: 2,
    call({ world }, args) {
      world.acknowledgements.push({ socket: args.u32(1), received: args.u32(2) });
      return 0;
    },
  },
];
