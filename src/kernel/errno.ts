import { constants } from "node:os";
import { ERRNO } from "../uapi/index.ts";

/** What the common answers of bpf(2) mean there; strerror's sentences say less. */
const MEANINGS: Readonly<Record<string, string>> = {
  EPERM:
    "not permitted: it takes root or CAP_BPF with CAP_NET_ADMIN or CAP_PERFMON, and no policy against it",
  ENOSYS: "this kernel has no bpf(2)",
  ENOENT: "no such element or object",
  E2BIG: "too big: more elements than the map holds, or more instructions than are allowed",
  ENOMEM: "out of memory",
  EACCES: "not allowed",
  EFAULT: "bad address",
  EBUSY: "busy: in use, frozen, or locked",
  EEXIST: "it exists already",
  EINVAL: "invalid argument: this kernel lacks the feature, or the request contradicts itself",
  ENOSPC: "no space: a limit or a buffer is too small",
  ENOTSUPP: "not supported for this type",
  EOPNOTSUPP: "not supported",
  EBADF: "the file descriptor is closed or of another kind",
  EINTR: "interrupted by a signal",
  EAGAIN: "try again",
  EDEADLK: "it would deadlock",
  ERANGE: "out of range",
  ENOTTY: "not supported by this file",
};

const NAMES: ReadonlyMap<number, string> = namesByNumber();

function namesByNumber(): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const table of [ERRNO, constants.errno]) {
    for (const [name, value] of Object.entries(table)) {
      if (!names.has(value)) names.set(value, name);
    }
  }
  return names;
}

/** "EINVAL" for 22 and -22; "errno 4711" for a number without a name. */
export function nameOfErrno(value: number): string {
  return NAMES.get(Math.abs(value)) ?? `errno ${Math.abs(value)}`;
}

/** "EPERM (not permitted: …)". */
export function explainErrno(value: number): string {
  const name = nameOfErrno(value);
  const meaning = MEANINGS[name];
  return meaning === undefined ? name : `${name} (${meaning})`;
}
