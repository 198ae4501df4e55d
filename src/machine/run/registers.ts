/** Contexts of probes: the registers of the interrupted code, arguments where the calling convention has them. */
import { BpfError } from "../../errors.ts";
import { isPlaced, lowerValue } from "../objects/index.ts";
import type { Arguments, EventInput, Word } from "./input.ts";
import { parameterNames, signatureOf } from "./signature.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

/** Where registers lie, and which of them calls use. */
interface Machine {
  readonly size: number;
  /** Offsets by name. */
  readonly registers: Readonly<Record<string, number>>;
  /** In the order of arguments (bpf_tracing.h: PT_REGS_PARM1 and on). */
  readonly args: readonly string[];
  /** Of system calls (PT_REGS_PARM1_SYSCALL and on). */
  readonly syscallArgs: readonly string[];
  readonly ret: string;
  readonly stack: string;
  /** Bytes between the stack pointer and the first argument on the stack. */
  readonly stackArgs: number;
}

const named = (names: readonly string[], offset = 0): [string, number][] =>
  names.map((name, index) => [name, offset + index * 8]);

/** arch/x86/include/asm/ptrace.h; user space's header puts an r before the names of two letters. */
const X86_64_NAMES = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss".split(
  " ",
);
const X86_64_USER =
  "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss".split(" ");

const MACHINES: Readonly<Record<NonNullable<EventInput["arch"]>, Machine>> = {
  x86_64: {
    size: 168,
    registers: Object.fromEntries([...named(X86_64_NAMES), ...named(X86_64_USER)]),
    args: ["di", "si", "dx", "cx", "r8", "r9"],
    syscallArgs: ["di", "si", "dx", "r10", "r8", "r9"],
    ret: "ax",
    stack: "sp",
    // The return address is on top.
    stackArgs: 8,
  },
  // struct user_pt_regs of arch/arm64/include/uapi/asm/ptrace.h, with which struct pt_regs begins.
  arm64: {
    size: 336,
    registers: Object.fromEntries([
      ...named(Array.from({ length: 31 }, (_, index) => `x${index}`)),
      ...named(["sp", "pc", "pstate"], 248),
      ["fp", 232],
      ["lr", 240],
      ["ip", 256],
      ["orig_x0", 272],
    ]),
    args: Array.from({ length: 8 }, (_, index) => `x${index}`),
    syscallArgs: ["orig_x0", "x1", "x2", "x3", "x4", "x5"],
    ret: "x0",
    stack: "sp",
    stackArgs: 0,
  },
};

function machineOf(subject: Subject, { arch = "x86_64" }: EventInput): Machine {
  const machine = MACHINES[arch];
  if (machine !== undefined) return machine;
  throw new BpfError(
    "context",
    `program '${subject.name}': no architecture '${String(arch)}'; there are ${Object.keys(MACHINES).join(", ")}`,
  );
}

function setRegister(subject: Subject, machine: Machine, view: DataView, name: string, value: Word): void {
  const offset = Object.hasOwn(machine.registers, name) ? machine.registers[name] : undefined;
  if (offset === undefined) {
    throw new BpfError(
      "context",
      `program '${subject.name}': no register '${name}'; there are ${Object.keys(machine.registers).join(", ")}`,
    );
  }
  // Small numbers and addresses are most of them, and a BigInt costs ten times as much.
  const small =
    typeof value === "number" && value === (value | 0) ? value : isPlaced(value) ? value.address : undefined;
  if (small === undefined) {
    view.setBigUint64(offset, BigInt.asUintN(64, subject.scratch.word(value, subject.name, name)), true);
    return;
  }
  view.setInt32(offset, small, true);
  view.setInt32(offset + 4, typeof value === "number" && value < 0 ? -1 : 0, true);
}

/** Arguments in order; those given by name are put where the function's declaration has them. */
export function inOrder(subject: Subject, args: Arguments): readonly Word[] {
  if (Array.isArray(args)) return args as readonly Word[];
  const names = parameterNames(subject);
  const given = args as Readonly<Record<string, Word>>;
  const ordered: Word[] = names.map((name) => given[name] ?? 0);
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    throw new BpfError(
      "context",
      `program '${subject.name}': no argument '${name}'; it has ${names.join(", ") || "none that BTF names: give them in order"}`,
    );
  }
  return ordered;
}

/** The address of a structure that is given by its members: the function's declaration says what it is. */
function laidOut(subject: Subject, word: Word, index: number): Word {
  if (typeof word !== "object" || word === null || isPlaced(word) || word instanceof Uint8Array) return word;
  const signature = signatureOf(subject);
  const type = signature?.parameters[index]?.type;
  if (signature === undefined || type === undefined) return word;
  const { memory, parts } = subject.scratch;
  return lowerValue(memory, signature.btf, type, word, parts);
}

/** Registers of a call with these arguments: in registers as far as there are, then on the stack. */
function fill(subject: Subject, machine: Machine, view: DataView, input: EventInput): void {
  const { args, ret, registers } = input;
  const { scratch, image } = subject;
  if (args !== undefined) {
    const words = inOrder(subject, args).map((word, index) => laidOut(subject, word, index));
    // SEC("ksyscall/...") programs read the arguments of the system call from the registers that its wrapper was given.
    if (image.section?.startsWith("ksyscall") === true || image.section?.startsWith("kretsyscall") === true) {
      const bytes = new Uint8Array(machine.size);
      const own = new DataView(bytes.buffer);
      putArguments(subject, machine, own, machine.syscallArgs, words);
      setRegister(subject, machine, view, machine.args[0] as string, scratch.place(bytes));
    } else {
      putArguments(subject, machine, view, machine.args, words);
    }
  }
  if (ret !== undefined) setRegister(subject, machine, view, machine.ret, ret);
  if (registers === undefined) return;
  for (const [name, value] of Object.entries(registers)) setRegister(subject, machine, view, name, value);
}

function putArguments(
  subject: Subject,
  machine: Machine,
  view: DataView,
  order: readonly string[],
  words: readonly Word[],
): void {
  const inRegisters = Math.min(words.length, order.length);
  for (let index = 0; index < inRegisters; index++) {
    setRegister(subject, machine, view, order[index] as string, words[index] as Word);
  }
  if (words.length <= order.length) return;
  const onStack = words.slice(order.length);
  const { scratch } = subject;
  const stack = scratch.room(machine.stackArgs + onStack.length * 8);
  onStack.forEach((word, index) => {
    const at = stack + machine.stackArgs + index * 8;
    scratch.memory.setU64(at, BigInt.asUintN(64, scratch.word(word, subject.name, "argument")));
  });
  setRegister(subject, machine, view, machine.stack, stack);
}

export const PROBE: Arranger = {
  takes: ["args", "ret", "registers", "arch", "cookie"],
  arrange(subject, input): Arrangement {
    const machine = machineOf(subject, input);
    const context = subject.scratch.buffer(machine.size);
    subject.state.returnAt = machine.registers[machine.ret];
    fill(subject, machine, context, input);
    return { context };
  },
};

export const SAMPLE: Arranger = {
  takes: ["registers", "sample", "arch", "cookie"],
  arrange(subject, input): Arrangement {
    const machine = machineOf(subject, input);
    // bpf_user_pt_regs_t of arm64 is struct user_pt_regs: 34 registers.
    const size = input.arch === "arm64" ? 272 : machine.size;
    const context = new Uint8Array(Math.max(machine.size, size + 16));
    const view = new DataView(context.buffer);
    fill(subject, machine, view, input);
    view.setBigUint64(size, BigInt.asUintN(64, BigInt(input.sample?.period ?? 0)), true);
    view.setBigUint64(size + 8, BigInt.asUintN(64, BigInt(input.sample?.addr ?? 0)), true);
    return { context: context.subarray(0, size + 16) };
  },
};
