/**
 * Encryption (kernel/bpf/crypto.c). A core without dependencies has no ciphers: the host gives them, from a library of its own
 * (`world: { ciphers }`).
 */
import { ERRNO } from "../../uapi/index.ts";
import { type Dynptr, locateDynptr, readDynptr } from "../helpers/dynptr.ts";
import { type HelperArguments, type HelperWorld, notInWorld } from "../helpers/types.ts";
import type { Cipher } from "../world/options.ts";
import type { HostKfunc } from "./types.ts";

// struct bpf_crypto_params.
const PARAMS = {
  type: 0,
  reserved: 14,
  algorithm: 16,
  key: 144,
  keyLength: 400,
  authSize: 404,
  bytes: 408,
} as const;
const KEY_BYTES = 256;
/** The kernel has one type of ciphers for programs (crypto/bpf_crypto_skcipher.c). */
const TYPE = "skcipher";

interface Context {
  readonly cipher: Cipher;
  readonly key: Uint8Array;
}

const contexts = new WeakMap<HelperWorld, Map<number, Context>>();

function contextsOf(world: HelperWorld): Map<number, Context> {
  let known = contexts.get(world);
  if (known === undefined) contexts.set(world, (known = new Map()));
  return known;
}

function textAt({ memory }: HelperWorld, address: number, length: number): string {
  const bytes = memory.read(address, length);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? length : end));
}

/** The key and the cipher, or a negated errno. */
function prepare(world: HelperWorld, params: number, size: number): Context | number {
  const { memory } = world;
  if (params === 0 || size !== PARAMS.bytes) return -ERRNO.EINVAL;
  if (memory.read(params + PARAMS.reserved, 2).some((byte) => byte !== 0)) return -ERRNO.EINVAL;
  if (textAt(world, params + PARAMS.type, 14) !== TYPE) return -ERRNO.ENOENT;
  const { ciphers } = world.world;
  if (ciphers === undefined) {
    throw notInWorld(
      "crypto_ctx_create",
      "there are no ciphers",
      'give some: world: { ciphers: { "ecb(aes)": { keySizes, ivSize, encrypt, decrypt } } }',
    );
  }
  const cipher = ciphers[textAt(world, params + PARAMS.algorithm, 128)];
  if (cipher === undefined || memory.u32(params + PARAMS.authSize) !== 0) return -ERRNO.EOPNOTSUPP;
  const length = memory.u32(params + PARAMS.keyLength);
  if (length === 0 || length > KEY_BYTES || !cipher.keySizes.includes(length)) return -ERRNO.EINVAL;
  return { cipher, key: memory.read(params + PARAMS.key, length) };
}

function create(world: HelperWorld, args: HelperArguments): bigint {
  const made = prepare(world, args.u32(1), args.u32(2));
  world.memory.setU32(args.u32(3), typeof made === "number" ? made >>> 0 : 0);
  if (typeof made === "number") return 0n;
  const address = world.heap.allocateKernel("bpf_crypto_ctx", 8, args.exec);
  if (address !== 0) contextsOf(world).set(address, made);
  return BigInt(address);
}

function bytesOf(world: HelperWorld, dynptr: Dynptr | undefined): { at: number; size: number } | undefined {
  if (dynptr === undefined) return undefined;
  const at = locateDynptr(world, dynptr, 0, dynptr.size);
  return at <= 0 ? undefined : { at, size: dynptr.size };
}

const crypt =
  (how: "encrypt" | "decrypt"): HostKfunc["call"] =>
  (world, args) => {
    const { memory } = world;
    const context = contextsOf(world).get(args.u32(1));
    const target = readDynptr(world, args.u32(3));
    if (context === undefined || target === undefined || target.readOnly) return -ERRNO.EINVAL;
    const source = bytesOf(world, readDynptr(world, args.u32(2)));
    const to = bytesOf(world, target);
    const vector = args.u32(4) === 0 ? undefined : bytesOf(world, readDynptr(world, args.u32(4)));
    if (source === undefined || to === undefined || source.size === 0 || to.size === 0) return -ERRNO.EINVAL;
    const { cipher, key } = context;
    if ((vector?.size ?? 0) !== cipher.ivSize) return -ERRNO.EINVAL;
    const iv = vector === undefined ? new Uint8Array(0) : memory.read(vector.at, vector.size);
    const result = cipher[how](key, memory.read(source.at, source.size), iv);
    if (result === undefined || result.length > to.size) return -ERRNO.EINVAL;
    memory.write(to.at, result);
    return 0;
  };

export const CRYPTO: readonly HostKfunc[] = [
  { name: "bpf_crypto_ctx_create", call: create },
  {
    name: "bpf_crypto_ctx_acquire",
    call(world, args) {
      const context = contextsOf(world).get(args.u32(1));
      if (context === undefined) return 0n;
      world.heap.retain(args.u32(1));
      return args.u64(1);
    },
  },
  {
    name: "bpf_crypto_ctx_release",
    call(world, args) {
      if (!contextsOf(world).has(args.u32(1))) return;
      world.heap.release(args.u32(1));
      if (world.heap.objectOf(args.u32(1)) === 0) contextsOf(world).delete(args.u32(1));
    },
  },
  { name: "bpf_crypto_encrypt", call: crypt("encrypt") },
  { name: "bpf_crypto_decrypt", call: crypt("decrypt") },
];
