/** Suite `compile`: time and size of compilation by the number of instructions, which should be linear. */
import { type Instruction, encodeInstructions } from "../../isa/index.ts";
import { compileProgram } from "../../jit/index.ts";
import { type Timing, inProcess, measureSides } from "./measure.ts";
import { type Suite, type SuiteContext, ns, ratio } from "./suite.ts";

const SIZES = [200, 1000, 10_000, 60_000] as const;

const ins = (opcode: number, dst: number, src: number, offset: number, imm: number): Instruction => ({
  opcode,
  dst,
  src,
  offset,
  imm,
});

/** Code as compilers write it: a third arithmetic, a third memory, the rest moves and forward branches, in small blocks. */
function program(size: number): Instruction[] {
  const code: Instruction[] = [];
  for (let register = 2; register < 10; register++) code.push(ins(0xb7, register, 0, 0, register));
  let state = 12345;
  const random = (bound: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 16) % bound;
  };
  while (code.length < size - 2) {
    const [dst, src] = [2 + random(8), 2 + random(8)];
    const slot = -8 * (1 + random(60));
    const room = size - 2 - code.length;
    switch (random(9)) {
      case 0:
        code.push(ins(0x0f, dst, src, 0, 0));
        break;
      case 1:
        code.push(ins(0x57, dst, 0, 0, 0xffff));
        break;
      case 2:
        code.push(ins(0xac, dst, src, 0, 0));
        break;
      case 3:
        code.push(ins(0x7b, 10, src, slot, 0));
        break;
      case 4:
        code.push(ins(0x79, dst, 10, slot, 0));
        break;
      case 5:
        code.push(ins(0x61, dst, 1, 4 * random(16), 0));
        break;
      case 6:
        code.push(ins(0xbf, dst, src, 0, 0));
        break;
      default:
        // A branch over one to eight instructions.
        code.push(ins([0x15, 0x25, 0x5e][random(3)] as number, dst, 3, Math.min(room - 1, 1 + random(8)), 7));
    }
  }
  code.push(ins(0xbf, 0, 2, 0, 0), ins(0x95, 0, 0, 0, 0));
  return code.map((one) =>
    one.opcode === 0x5e
      ? { ...one, imm: 0 }
      : one.opcode === 0x15 || one.opcode === 0x25
        ? { ...one, src: 0 }
        : one,
  );
}

function compileOf(instructions: readonly Instruction[]): Uint8Array {
  return compileProgram({
    instructions,
    functions: [{ name: "main", start: 0, end: instructions.length }],
    helper: (id) => ({ kind: "host", name: `helper_${id}`, args: 5 }),
  }).bytes;
}

interface CompileRow {
  readonly instructions: number;
  /** Nanoseconds, without what the JavaScript engine does with the module. */
  readonly skep: Timing;
  /** Bytes of BPF and of WebAssembly. */
  readonly bpfBytes: number;
  readonly wasmBytes: number;
}

export const compileSuite: Suite = {
  name: "compile",
  summary: "time and size of compilation by the number of instructions",
  async run(context) {
    const rows = measure(context);
    return {
      json: { rows },
      sections: [
        {
          title: "Compilation",
          head: ["instructions", "skep", "of it each", "BPF bytes", "WebAssembly bytes", "ratio"],
          rows: rows.map(({ instructions, skep, bpfBytes, wasmBytes }) => [
            String(instructions),
            ns(skep.median),
            ns(skep.median / instructions),
            String(bpfBytes),
            String(wasmBytes),
            ratio(wasmBytes / bpfBytes),
          ]),
          notes: [],
        },
      ],
    };
  },
};

/** So that the compiler itself has been compiled: the first sizes would pay for all. */
const WARM_UP = 30;

function measure({ progress, ...rounds }: SuiteContext): CompileRow[] {
  for (let round = 0; round < WARM_UP; round++) compileOf(program(1000));
  return SIZES.map((size, index) => {
    progress(index, SIZES.length, `${size} instructions`);
    const instructions = program(size);
    const compile = (): Uint8Array => compileOf(instructions);
    const bytes = compile();
    const { skep } = measureSides(
      {
        skep: inProcess((runs) => {
          for (let run = 0; run < runs; run++) compile();
        }),
      },
      rounds,
    );
    return {
      instructions: size,
      skep,
      bpfBytes: encodeInstructions(instructions).length,
      wasmBytes: bytes.length,
    };
  });
}
