/** Error numbers of Linux that BPF map operations and helpers return, negated (uapi/asm-generic/errno*.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOMSG: 42,
  ENODATA: 61,
  ENONET: 64,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EBADFD: 77,
  EPROTOTYPE: 91,
  ENOPROTOOPT: 92,
  EPROTONOSUPPORT: 93,
  ESOCKTNOSUPPORT: 94,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  EISCONN: 106,
  ETIMEDOUT: 110,
  EHOSTUNREACH: 113,
  EALREADY: 114,
  ENOTSUPP: 524,
} as const;

/** "EINVAL", ... */
export type ErrnoName = keyof typeof ERRNO;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(ERRNO).map(([name, value]) => [value, name]),
);

/** "EINVAL" for 22 and for -22; the number itself where we have no name for it. */
export function errnoName(value: number): string {
  return NAMES.get(Math.abs(value)) ?? String(Math.abs(value));
}
