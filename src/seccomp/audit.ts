/** What is wrong with a filter, or looks so. */
import { type CbpfProgram, type CbpfRow, cbpfRow, checkCbpf } from "../cbpf/index.ts";
import {
  SECCOMP_ARCHES,
  type SeccompArch,
  X32_BIT,
  argumentName,
  seccompArch,
  syscallNumber,
  syscallsOf,
} from "./arch.ts";
import { SECCOMP_ACTIONS, actionOf } from "./data.ts";
import { type Outcome, outcomesOf } from "./symbolic.ts";

export type Severity = "high" | "medium" | "low";

export interface AuditFinding {
  readonly id: string;
  readonly severity: Severity;
  readonly message: string;
  /** The calls that it is about. */
  readonly calls?: readonly string[];
  /** The instruction that it is about. */
  readonly instruction?: number;
}

const NO_ARCH = 0x12345678;

/** Calls that give away more than they seem to, when they are allowed whatever their arguments are. */
const POWERFUL: Readonly<Record<string, string>> = {
  bpf: "loads programs into the kernel",
  delete_module: "unloads kernel modules",
  finit_module: "loads kernel modules",
  init_module: "loads kernel modules",
  io_uring_setup: "does by its queues what the filter never sees",
  kexec_file_load: "boots another kernel",
  kexec_load: "boots another kernel",
  mount: "changes the file system's tree",
  open_by_handle_at: "opens files around mount namespaces",
  perf_event_open: "measures other processes",
  pivot_root: "changes the root",
  process_vm_writev: "writes into other processes",
  ptrace: "controls other processes",
  reboot: "stops the machine",
  setns: "enters other namespaces",
  swapon: "changes the machine's memory",
  unshare: "makes namespaces",
  userfaultfd: "holds the kernel at page faults",
};

const lets = (value: number): boolean =>
  ["ALLOW", "LOG", "TRACE", "USER_NOTIF"].includes(actionOf(value).name);
const always = (outcomes: readonly Outcome[]): boolean => outcomes.every(({ value }) => lets(value));
const ever = (outcomes: readonly Outcome[]): boolean => outcomes.some(({ value }) => lets(value));

/**
 * Looks for the known holes of seccomp filters.
 *
 * @param arch the machine that it is for, by any of its names; default "x86_64"
 * @throws BpfError code "program" if Linux would not take the filter
 * @example
 * auditSeccomp(cbpf).map(({ severity, message }) => `${severity}: ${message}`);
 */
export function auditSeccomp(program: CbpfProgram, arch = "x86_64"): AuditFinding[] {
  checkCbpf(program, { variant: "seccomp" });
  const native = seccompArch(arch);
  return [
    ...archFindings(program, native),
    ...x32Findings(program, native),
    ...multiplexerFindings(program),
    ...powerFindings(program, native),
    ...halfFindings(program, native),
    ...codeFindings(program),
  ];
}

/** The value of `arch` decides what a number means: a filter that doesn't look filters other calls than it thinks. */
function archFindings(program: CbpfProgram, native: SeccompArch): AuditFinding[] {
  const calls = syscallsOf(native.name).filter(([number]) =>
    ever(outcomesOf(program, native, number, NO_ARCH)),
  );
  if (calls.length === 0) return [];
  const reads = program.some(({ code, k }) => code === 0x20 && k === 4);
  return [
    {
      id: "arch-unchecked",
      severity: "high",
      message: reads
        ? "calls of other architectures are let through: numbers mean other calls there"
        : "the filter never reads arch: a process can make the calls of another architecture, whose numbers mean other calls",
      calls: calls.map(([, name]) => name),
    },
  ];
}

/** On x86-64 bit 30 of a number makes the same call by the x32 ABI, with the same value of `arch`. */
function x32Findings(program: CbpfProgram, native: SeccompArch): AuditFinding[] {
  if (native.name !== "x86_64") return [];
  const calls = syscallsOf("x86_64").filter(
    ([number]) =>
      !always(outcomesOf(program, native, number)) && always(outcomesOf(program, native, number + X32_BIT)),
  );
  if (calls.length === 0) return [];
  return [
    {
      id: "x32-hole",
      severity: "high",
      message: "calls that are refused are let through with bit 30 set, by the x32 ABI",
      calls: calls.map(([, name]) => name),
    },
  ];
}

/** Calls that do what others do, with arguments in memory, where filters can't look. */
function multiplexerFindings(program: CbpfProgram): AuditFinding[] {
  const holes = [
    { way: "socketcall", around: "socket" },
    { way: "clone3", around: "clone" },
    { way: "openat2", around: "openat" },
    { way: "ipc", around: "shmat" },
  ];
  return SECCOMP_ARCHES.flatMap((arch) =>
    holes.flatMap(({ way, around }): AuditFinding[] => {
      const [through, other] = [syscallNumber(arch.name, way), syscallNumber(arch.name, around)];
      if (through === undefined || other === undefined) return [];
      if (always(outcomesOf(program, arch, other)) || !always(outcomesOf(program, arch, through))) return [];
      return [
        {
          id: "way-around",
          severity: "medium",
          message: `${arch.name}: ${around} is restricted, but ${way} does the same and is let through, with arguments that a filter can't see`,
          calls: [way],
        },
      ];
    }),
  );
}

function powerFindings(program: CbpfProgram, native: SeccompArch): AuditFinding[] {
  return Object.entries(POWERFUL).flatMap(([name, does]): AuditFinding[] => {
    const number = syscallNumber(native.name, name);
    if (number === undefined || !always(outcomesOf(program, native, number))) return [];
    return [
      {
        id: "powerful-call",
        severity: "medium",
        message: `${name} is let through always: it ${does}`,
        calls: [name],
      },
    ];
  });
}

/** Arguments have 64 bits; a test of 32 of them leaves the others to the caller. */
function halfFindings(program: CbpfProgram, native: SeccompArch): AuditFinding[] {
  const halves = new Map<string, string[]>();
  for (const [number, name] of syscallsOf(native.name)) {
    const seen = new Map<number, Set<boolean>>();
    for (const { conditions } of outcomesOf(program, native, number)) {
      for (const { word } of conditions) {
        if (word?.kind === "arg") seen.set(word.index, (seen.get(word.index) ?? new Set()).add(word.high));
      }
    }
    for (const [index, sides] of seen) {
      if (!sides.has(true))
        halves.set(name, [...(halves.get(name) ?? []), argumentName(native.name, name, index)]);
    }
  }
  return [...halves].map(([name, args]) => ({
    id: "lower-half-only",
    severity: "low",
    message: `${name}: only the lower 32 bits of ${args.join(", ")} are tested; right if the kernel looks at no more`,
    calls: [name],
  }));
}

/** Instructions that nothing reaches, values that are no action, and threads killed alone. */
function codeFindings(program: CbpfProgram): AuditFinding[] {
  const findings: AuditFinding[] = [];
  const reached = new Uint8Array(program.length);
  reached[0] = 1;
  program.forEach(({ code, jt, jf, k }, index) => {
    if (reached[index] === 0) return;
    const { semantics } = cbpfRow(code) as CbpfRow;
    if (semantics.kind === "goto") reached[index + 1 + k] = 1;
    else if (semantics.kind === "branch") {
      reached[index + 1 + jt] = 1;
      reached[index + 1 + jf] = 1;
    } else if (semantics.kind !== "return") reached[index + 1] = 1;
    if (semantics.kind !== "return" || semantics.value !== "k") return;
    const action = (k & 0xffff0000) >>> 0;
    if (!SECCOMP_ACTIONS.some(({ value }) => value === action)) {
      findings.push({
        id: "unknown-action",
        severity: "medium",
        message: `ret #0x${k.toString(16)} is no action: it kills the process`,
        instruction: index,
      });
    }
  });
  const dead = reached.indexOf(0);
  if (dead >= 0) {
    const count = reached.filter((flag) => flag === 0).length;
    findings.push({
      id: "unreachable",
      severity: "low",
      message: `${count} instructions are never reached, the first is ${dead}`,
      instruction: dead,
    });
  }
  if (program.some(({ code, k }) => code === 0x06 && (k & 0xffff0000) === 0)) {
    findings.push({
      id: "kill-thread",
      severity: "low",
      message:
        "KILL_THREAD ends one thread and leaves the process in a state of its own; KILL_PROCESS ends it all",
    });
  }
  return findings;
}
