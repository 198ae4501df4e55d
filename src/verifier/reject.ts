/**
 * How a verification ends early. What is wrong with the program has been written to the log before; the errno is what
 * bpf(2) answers. Thrown inside this folder only: `verify` turns it into a result.
 */
export class Rejection {
  /** "EACCES", "EINVAL", ... */
  readonly errno: RejectionErrno;

  /** The last line that was written; "" if it was written before, or there is none. */
  readonly message: string;

  constructor(errno: RejectionErrno, message: string) {
    this.errno = errno;
    this.message = message;
  }
}

export type RejectionErrno =
  | "EPERM"
  | "E2BIG"
  | "EBADF"
  | "EAGAIN"
  | "ENOMEM"
  | "EACCES"
  | "EFAULT"
  | "EBUSY"
  | "EEXIST"
  | "EINVAL"
  | "ENOSPC"
  | "EDOM"
  | "ERANGE"
  | "EPROTO"
  | "EOPNOTSUPP"
  | "EDEADLK"
  | "ENOENT"
  | "ESRCH"
  | "ELOOP"
  | "ENOTSUPP";

/** Thrown when the caller asked to stop. */
export class Cancelled {
  readonly reason: string = "cancelled";
}
