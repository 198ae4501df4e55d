/** Architectures as seccomp filters see them (uapi linux/audit.h), and their system calls. */
import { BpfError } from "../errors.ts";
import { SYSCALLS, SYSCALL_COLUMNS } from "./syscalls.ts";

export type ArchName = (typeof SYSCALL_COLUMNS)[number];

/** Bit of a number that makes it a call of x32 (uapi asm/unistd.h, __X32_SYSCALL_BIT). */
export const X32_BIT = 0x40000000;

export interface SeccompArch {
  readonly name: ArchName;
  /** The value of `arch` in struct seccomp_data. */
  readonly audit: number;
  /** The constant's name. */
  readonly constant: string;
  /** As OCI profiles call it. */
  readonly oci: string;
  /** As Docker's `includes.arches` call it. */
  readonly docker: string;
  /** Which half of an argument comes first. */
  readonly bigEndian: boolean;
  /** Added to the numbers of the table. */
  readonly base: number;
}

/** One row an architecture. x32 has the audit value of x86-64. */
export const SECCOMP_ARCHES: readonly SeccompArch[] = [
  ["x86_64", 0xc000003e, "AUDIT_ARCH_X86_64", "SCMP_ARCH_X86_64", "amd64", false, 0],
  ["i386", 0x40000003, "AUDIT_ARCH_I386", "SCMP_ARCH_X86", "x86", false, 0],
  ["x32", 0xc000003e, "AUDIT_ARCH_X86_64", "SCMP_ARCH_X32", "x32", false, X32_BIT],
  ["aarch64", 0xc00000b7, "AUDIT_ARCH_AARCH64", "SCMP_ARCH_AARCH64", "arm64", false, 0],
  ["arm", 0x40000028, "AUDIT_ARCH_ARM", "SCMP_ARCH_ARM", "arm", false, 0],
  ["riscv64", 0xc00000f3, "AUDIT_ARCH_RISCV64", "SCMP_ARCH_RISCV64", "riscv64", false, 0],
  ["s390x", 0x80000016, "AUDIT_ARCH_S390X", "SCMP_ARCH_S390X", "s390x", true, 0],
  ["s390", 0x00000016, "AUDIT_ARCH_S390", "SCMP_ARCH_S390", "s390", true, 0],
].map(([name, audit, constant, oci, docker, bigEndian, base]) => ({
  name: name as ArchName,
  audit: audit as number,
  constant: constant as string,
  oci: oci as string,
  docker: docker as string,
  bigEndian: bigEndian as boolean,
  base: base as number,
}));

/**
 * An architecture by any of its names: "x86_64", "amd64", "SCMP_ARCH_X86_64", "AUDIT_ARCH_X86_64".
 *
 * @throws BpfError code "usage", naming those that exist
 */
export function seccompArch(name: string): SeccompArch {
  const arch = SECCOMP_ARCHES.find((row) => [row.name, row.oci, row.docker, row.constant].includes(name));
  if (arch === undefined) {
    const known = SECCOMP_ARCHES.map((row) => row.name).join(", ");
    throw new BpfError("usage", `architecture "${name}" is not known; these are: ${known}`);
  }
  return arch;
}

const tables = new Map<
  ArchName,
  { readonly numbers: Map<string, number>; readonly names: Map<number, string> }
>();

function tableOf(arch: ArchName): {
  readonly numbers: Map<string, number>;
  readonly names: Map<number, string>;
} {
  let table = tables.get(arch);
  if (table === undefined) {
    const column = SYSCALL_COLUMNS.indexOf(arch) + 1;
    const { base } = seccompArch(arch);
    const numbers = new Map<string, number>();
    const names = new Map<number, string>();
    for (const row of SYSCALLS) {
      const number = row[column] as number;
      if (number < 0) continue;
      numbers.set(row[0], number + base);
      names.set(number + base, row[0]);
    }
    table = { numbers, names };
    tables.set(arch, table);
  }
  return table;
}

/** Number of a system call on an architecture (with bit 30 on x32), or undefined if it has none. */
export function syscallNumber(arch: ArchName, name: string): number | undefined {
  return tableOf(arch).numbers.get(name);
}

/** Name of a number, or undefined. Numbers of x86-64 with bit 30 are looked up in x32's table. */
export function syscallName(arch: ArchName, number: number): string | undefined {
  const table = arch === "x86_64" && (number & X32_BIT) !== 0 ? "x32" : arch;
  return tableOf(table).names.get(number);
}

/** All calls of an architecture, by number. */
export function syscallsOf(arch: ArchName): readonly (readonly [number, string])[] {
  return [...tableOf(arch).names].sort(([one], [other]) => one - other);
}

/** Whether any architecture has a call of that name. */
export function isSyscall(name: string): boolean {
  return SECCOMP_ARCHES.some((arch) => tableOf(arch.name).numbers.has(name));
}

/** Names of arguments, as the manual pages have them, of calls whose arguments filters look at. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  bpf: "cmd attr size",
  chmod: "path mode",
  clone: "flags stack parent_tid child_tid tls",
  clone3: "args size",
  close: "fd",
  dup3: "oldfd newfd flags",
  epoll_ctl: "epfd op fd event",
  execve: "path argv envp",
  execveat: "dirfd path argv envp flags",
  fchmod: "fd mode",
  fchmodat: "dirfd path mode",
  fchmodat2: "dirfd path mode flags",
  fcntl: "fd cmd arg",
  fcntl64: "fd cmd arg",
  futex: "uaddr op val timeout uaddr2 val3",
  getsockopt: "sockfd level optname optval optlen",
  ioctl: "fd request arg",
  keyctl: "operation arg2 arg3 arg4 arg5",
  kill: "pid sig",
  lseek: "fd offset whence",
  madvise: "addr length advice",
  memfd_create: "name flags",
  mknod: "path mode dev",
  mknodat: "dirfd path mode dev",
  mmap: "addr length prot flags fd offset",
  mmap2: "addr length prot flags fd pgoffset",
  mount: "source target type flags data",
  mprotect: "addr length prot",
  open: "path flags mode",
  openat: "dirfd path flags mode",
  openat2: "dirfd path how size",
  perf_event_open: "attr pid cpu group_fd flags",
  personality: "persona",
  pkey_mprotect: "addr length prot pkey",
  prctl: "option arg2 arg3 arg4 arg5",
  prlimit64: "pid resource new_limit old_limit",
  ptrace: "request pid addr data",
  read: "fd buf count",
  seccomp: "operation flags args",
  setns: "fd nstype",
  setsockopt: "sockfd level optname optval optlen",
  shmat: "shmid shmaddr shmflg",
  socket: "domain type protocol",
  socketcall: "call args",
  socketpair: "domain type protocol sv",
  tgkill: "tgid tid sig",
  tkill: "tid sig",
  umount2: "target flags",
  unshare: "flags",
  write: "fd buf count",
};

/** Name of an argument, counted from 0: "domain"; "arg0" where we have none. */
export function argumentName(arch: ArchName, syscall: string | undefined, index: number): string {
  // s390 passes the new stack first (CONFIG_CLONE_BACKWARDS2).
  if (syscall === "clone" && arch.startsWith("s390") && index < 2) return index === 0 ? "stack" : "flags";
  return (syscall === undefined ? undefined : ARGUMENTS[syscall]?.split(" ")[index]) ?? `arg${index}`;
}
