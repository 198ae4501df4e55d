/**
 * Suite `stack`: register machine against stack machine. The classic programs, compiled by clang for BPF and for WebAssembly,
 * run by two interpreters that are written in the same way (assembly/index.ts).
 */
import { readFileSync } from "node:fs";
import { BpfError } from "../../../errors.ts";
import { encodeInstructions } from "../../../isa/index.ts";
import { linkProgram } from "../../../object/index.ts";
import { CLASSIC_PROGRAMS } from "../classic.ts";
import { benchFolder, benchObject } from "../files.ts";
import { type Timing, geometricMean, inProcess, measureSides } from "../measure.ts";
import { type Suite, type SuiteContext, ns, ratio } from "../suite.ts";
import { effectOf, flattenModule } from "./flatten.ts";
import { machinesWasm } from "./machines.wasm.ts";

interface Machines {
  readonly memory: WebAssembly.Memory;
  count_at(address: number): void;
  run_register(code: number, registers: number): bigint;
  count_register(code: number, registers: number): bigint;
  run_stack(code: number, locals: number, stack: number): bigint;
  count_stack(code: number, locals: number, stack: number): bigint;
}

/** Where things lie in the memory of the machines. */
const COUNTS = 0x1000;
const REGISTERS = 0x2000;
const LOCALS = 0x3000;
const STACK = 0x4000;
const REGISTER_CODE = 0x8000;
const STACK_CODE = 0x10000;
const INPUT = 0x20000;

interface MachineFigures {
  readonly time: Timing;
  /** Executed; each is one dispatch. */
  readonly instructions: number;
  /** Operand fields of instructions that are decoded: registers, constants, offsets, indices, targets. */
  readonly operands: number;
  /** Reads and writes of registers, or of locals and the stack. */
  readonly accesses: number;
  /** As the interpreter sees it, 8 bytes a slot; and as it is encoded in the file. */
  readonly codeBytes: number;
  readonly encodedBytes: number;
}

interface StackRow {
  readonly program: string;
  readonly register: MachineFigures;
  readonly stack: MachineFigures;
}

export const stackSuite: Suite = {
  name: "stack",
  summary: "register machine against stack machine, interpreted in the same way",
  async run(context) {
    const rows = measure(context);
    // Programs of a few instructions say nothing about either.
    const large = rows.filter(({ register }) => register.instructions > 100);
    const mean = (of: (figures: MachineFigures) => number): number =>
      geometricMean(large.map(({ register, stack }) => of(register) / of(stack)));
    const registerVersusStack = {
      instructions: mean((figures) => figures.instructions),
      operands: mean((figures) => figures.operands),
      accesses: mean((figures) => figures.accesses),
      codeBytes: mean((figures) => figures.codeBytes),
      encodedBytes: mean((figures) => figures.encodedBytes),
      time: mean((figures) => figures.time.median),
    };
    const percent = (value: number): string =>
      value < 1 ? `${(100 * (1 - value)).toFixed(0)} % less` : `${(100 * (value - 1)).toFixed(0)} % more`;
    return {
      json: { rows, registerVersusStack },
      sections: [
        {
          title: "Register machine and stack machine, a run of each program",
          head: [
            "program",
            "instructions, register",
            "stack",
            "ratio",
            "operands, ratio",
            "accesses, ratio",
            "code in the file, ratio",
            "time, register",
            "stack",
            "ratio",
          ],
          rows: rows.map(({ program, register, stack }) => [
            program,
            String(register.instructions),
            String(stack.instructions),
            ratio(register.instructions / stack.instructions),
            ratio(register.operands / stack.operands),
            ratio(register.accesses / stack.accesses),
            ratio(register.encodedBytes / stack.encodedBytes),
            ns(register.time.median),
            ns(stack.time.median),
            ratio(register.time.median / stack.time.median),
          ]),
          notes: [
            `Register machine, geometric mean of the programs with more than 100 instructions: instructions and dispatches ` +
              `${percent(registerVersusStack.instructions)}, operand fields ${percent(registerVersusStack.operands)}, accesses ` +
              `${percent(registerVersusStack.accesses)}, code ${percent(registerVersusStack.encodedBytes)} in the file (slots of ` +
              `8 bytes for both: ${percent(registerVersusStack.codeBytes)}), time ${percent(registerVersusStack.time)}.`,
          ],
        },
      ],
    };
  },
};

function measure({ progress, ...rounds }: SuiteContext): StackRow[] {
  const machines = instantiate();
  const flat = flattenModule(readFileSync(benchFolder("stack/classic.wasm")));
  const object = benchObject("classic/classic.bpf.o");
  return CLASSIC_PROGRAMS.map(({ name, input, length }, index) => {
    progress(index, CLASSIC_PROGRAMS.length, name);
    const memory = new Uint8Array(machines.memory.buffer);
    const view = new DataView(machines.memory.buffer);
    const bytes = encodeInstructions(linkProgram(object, name).instructions);
    const { slots, encodedBytes } = flat[name] as (typeof flat)[string];
    memory.set(bytes, REGISTER_CODE);
    memory.set(slots, STACK_CODE);
    const one = input();
    memory.set(one, INPUT);
    const register = (run: Machines["run_register"]): number => {
      view.setBigUint64(REGISTERS + 8, BigInt(INPUT), true);
      view.setBigUint64(REGISTERS + 16, BigInt(length), true);
      return Number(run(REGISTER_CODE, REGISTERS) & 0xffffffffn);
    };
    const stack = (run: Machines["run_stack"]): number => {
      memory.fill(0, LOCALS, LOCALS + 256);
      view.setBigUint64(LOCALS, BigInt(INPUT), true);
      view.setBigUint64(LOCALS + 8, BigInt(length), true);
      return Number(run(STACK_CODE, LOCALS, STACK) & 0xffffffffn);
    };
    const counted = (run: () => number): { result: number; counts: Uint32Array } => {
      memory.fill(0, COUNTS, COUNTS + 1024);
      machines.count_at(COUNTS);
      const result = run();
      return { result, counts: new Uint32Array(machines.memory.buffer.slice(COUNTS, COUNTS + 1024)) };
    };
    const ours = counted(() => register(machines.count_register));
    memory.set(one, INPUT);
    const theirs = counted(() => stack(machines.count_stack));
    if (ours.result !== theirs.result) {
      throw new BpfError(
        "fault",
        `program '${name}': the register machine returns ${ours.result}, the stack machine ${theirs.result}`,
      );
    }
    const times = measureSides(
      {
        register: inProcess((runs) => {
          for (let run = 0; run < runs; run++) register(machines.run_register);
        }),
        stack: inProcess((runs) => {
          for (let run = 0; run < runs; run++) stack(machines.run_stack);
        }),
      },
      rounds,
    );
    return {
      program: name,
      register: {
        time: times.register,
        ...totals(ours.counts, registerOperands),
        codeBytes: bytes.length,
        encodedBytes: bytes.length,
      },
      stack: {
        time: times.stack,
        ...totals(theirs.counts, stackOperands),
        codeBytes: slots.length,
        encodedBytes,
      },
    };
  });
}

function totals(
  counts: Uint32Array,
  of: (opcode: number) => { operands: number; accesses: number },
): Pick<MachineFigures, "instructions" | "operands" | "accesses"> {
  let [instructions, operands, accesses] = [0, 0, 0];
  counts.forEach((count, opcode) => {
    if (count === 0) return;
    const each = of(opcode);
    instructions += count;
    operands += count * each.operands;
    accesses += count * each.accesses;
  });
  return { instructions, operands, accesses };
}

/** RFC 9669, section 3: the class in the low three bits, the source in the fourth, the operation above. */
function registerOperands(opcode: number): { operands: number; accesses: number } {
  const kind = opcode & 7;
  const fromRegister = (opcode & 8) !== 0;
  switch (kind) {
    case 1:
      return { operands: 3, accesses: 2 };
    case 3:
      return { operands: 3, accesses: 2 };
    case 5:
    case 6:
      if (opcode === 0x05) return { operands: 1, accesses: 0 };
      if (opcode === 0x95) return { operands: 0, accesses: 1 };
      return { operands: 3, accesses: fromRegister ? 2 : 1 };
    default: {
      const moves = (opcode & 0xf0) === 0xb0;
      return { operands: 2, accesses: (moves ? 1 : 2) + (fromRegister ? 1 : 0) };
    }
  }
}

function stackOperands(opcode: number): { operands: number; accesses: number } {
  const [pops, pushes] = effectOf(opcode);
  const ofLocals = opcode === 0x20 || opcode === 0x21 || opcode === 0x22 ? 1 : 0;
  const hasOperand =
    ofLocals === 1 ||
    opcode === 0x41 ||
    opcode === 0x42 ||
    opcode === 0xfe ||
    (opcode >= 0x0c && opcode <= 0x0e) ||
    (opcode >= 0x28 && opcode <= 0x3e);
  return { operands: hasOperand ? 1 : 0, accesses: pops + pushes + ofLocals };
}

function instantiate(): Machines {
  const module = new WebAssembly.Module(machinesWasm());
  const { exports } = new WebAssembly.Instance(module, {});
  const machines = exports as unknown as Machines;
  // Room for the largest input.
  machines.memory.grow(64);
  return machines;
}
