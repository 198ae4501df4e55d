/** What a seccomp filter reads and returns (uapi linux/seccomp.h). */
import type { SeccompArch } from "./arch.ts";

/** Offsets in struct seccomp_data. */
export const SECCOMP_DATA = { nr: 0, arch: 4, instructionPointer: 8, args: 16, size: 64 } as const;

export interface SeccompAction {
  /** Its value without data. */
  readonly value: number;
  /** As bpf programs and manuals call it, without SECCOMP_RET_. */
  readonly name: string;
  /** As OCI profiles call it. */
  readonly oci: string;
  /** What becomes of the call, in words. */
  readonly text: string;
}

/** The actions, the strongest first: of several filters the strongest answer counts. */
export const SECCOMP_ACTIONS: readonly SeccompAction[] = [
  { value: 0x80000000, name: "KILL_PROCESS", oci: "SCMP_ACT_KILL_PROCESS", text: "kills the process" },
  { value: 0x00000000, name: "KILL_THREAD", oci: "SCMP_ACT_KILL_THREAD", text: "kills the thread" },
  { value: 0x00030000, name: "TRAP", oci: "SCMP_ACT_TRAP", text: "raises SIGSYS" },
  { value: 0x00050000, name: "ERRNO", oci: "SCMP_ACT_ERRNO", text: "fails with an errno" },
  { value: 0x7fc00000, name: "USER_NOTIF", oci: "SCMP_ACT_NOTIFY", text: "asks a supervisor" },
  { value: 0x7ff00000, name: "TRACE", oci: "SCMP_ACT_TRACE", text: "tells a tracer" },
  { value: 0x7ffc0000, name: "LOG", oci: "SCMP_ACT_LOG", text: "is allowed and logged" },
  { value: 0x7fff0000, name: "ALLOW", oci: "SCMP_ACT_ALLOW", text: "is allowed" },
];

/** The row of a returned value; values that are no action kill the process. */
export function actionOf(value: number): SeccompAction {
  const action = (value & 0xffff0000) >>> 0;
  return SECCOMP_ACTIONS.find((row) => row.value === action) ?? (SECCOMP_ACTIONS[0] as SeccompAction);
}

/** Names of errno values that profiles use; numbers of the generic ABI, as on all architectures here. */
export const ERRNO_NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  13: "EACCES",
  14: "EFAULT",
  22: "EINVAL",
  38: "ENOSYS",
  95: "EOPNOTSUPP",
  97: "EAFNOSUPPORT",
};

const MAX_ERRNO = 4095;

/** "ALLOW", "ERRNO(EPERM)", "TRACE(7)", ... */
export function describeAction(value: number): string {
  const { name } = actionOf(value);
  const data = value & 0xffff;
  if (name === "ERRNO") {
    const errno = Math.min(data, MAX_ERRNO);
    return `ERRNO(${ERRNO_NAMES[errno] ?? errno})`;
  }
  return data === 0 || name === "ALLOW" || name.startsWith("KILL") ? name : `${name}(${data})`;
}

/** A call, as its architecture makes it. */
export interface SeccompCall {
  readonly arch: SeccompArch;
  readonly number: number;
  /** Up to six arguments; absent ones are 0. */
  readonly args?: readonly (number | bigint)[] | undefined;
  readonly instructionPointer?: number | bigint | undefined;
}

/**
 * struct seccomp_data for our interpreter, which reads words as packets have them: each word is stored big-endian, in the
 * order of the architecture's own byte order.
 */
export function encodeCall({ arch, number, args = [], instructionPointer = 0 }: SeccompCall): Uint8Array {
  const bytes = new Uint8Array(SECCOMP_DATA.size);
  const view = new DataView(bytes.buffer);
  const wide = (offset: number, value: number | bigint): void => {
    const bits = BigInt.asUintN(64, BigInt(value));
    view.setUint32(offset + (arch.bigEndian ? 4 : 0), Number(bits & 0xffffffffn));
    view.setUint32(offset + (arch.bigEndian ? 0 : 4), Number(bits >> 32n));
  };
  view.setUint32(SECCOMP_DATA.nr, number);
  view.setUint32(SECCOMP_DATA.arch, arch.audit);
  wide(SECCOMP_DATA.instructionPointer, instructionPointer);
  for (let index = 0; index < 6; index++) wide(SECCOMP_DATA.args + 8 * index, args[index] ?? 0);
  return bytes;
}

/** What a word of struct seccomp_data is. */
export type SeccompWord =
  | { readonly kind: "nr" | "arch" }
  | { readonly kind: "ip"; readonly high: boolean }
  | { readonly kind: "arg"; readonly index: number; readonly high: boolean };

/** The word at an offset, or undefined beyond them. */
export function wordAt(offset: number, bigEndian: boolean): SeccompWord | undefined {
  if (offset === SECCOMP_DATA.nr) return { kind: "nr" };
  if (offset === SECCOMP_DATA.arch) return { kind: "arch" };
  if (offset % 4 !== 0 || offset < 8 || offset >= SECCOMP_DATA.size) return undefined;
  const high = (offset % 8 === 4) !== bigEndian;
  if (offset < SECCOMP_DATA.args) return { kind: "ip", high };
  return { kind: "arg", index: (offset - SECCOMP_DATA.args) >> 3, high };
}

/** Offset of a half of an argument. */
export function argumentOffset(index: number, high: boolean, bigEndian: boolean): number {
  return SECCOMP_DATA.args + 8 * index + (high === bigEndian ? 0 : 4);
}
