/** Functions that are named and never reached: Linux takes them out, and may find nothing where the name points. */
import { closeSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { Kernel, attemptLoad } from "../../src/kernel/index.ts";
import { linkObject } from "../../src/kernel/load.ts";
import { reasonOf, verify } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { constructs } from "../verify-diff/constructs/generate.ts";

const END = "r0 = 0; exit";
/** bpf_loop(0, f): `name f` follows for the callback. */
const NEVER = (callback: number): string[] => ["r1 = 0", `name ${callback}`, "r3 = 0; r4 = 0; call 181"];

/** Texts of functions; the line `name N` sets r2 to the address of the Nth, `call N` calls it. */
interface Row {
  readonly name: string;
  readonly functions: readonly (readonly string[])[];
  readonly says: string;
}

const BUG = (slot: number): string => `EFAULT verifier bug: No program to jit at insn ${slot} (subprog < 0)`;

const ROWS: readonly Row[] = [
  { name: "the only function besides", functions: [[...NEVER(1), END], [END]], says: "" },
  {
    name: "a function before one that stays: its number is that one's",
    functions: [["name 1", "call 2", END], [END], [END]],
    says: "",
  },
  {
    name: "a function behind the last one that stays",
    functions: [["name 2", "call 1", END], [END], [END]],
    says: BUG(9),
  },
  {
    name: "two functions before one that stays: the number of the second is nobody's",
    functions: [["name 1", "name 2", "call 3", END], [END], [END], [END]],
    says: BUG(11),
  },
  {
    name: "dead code that moves the number to another function's start",
    functions: [
      ["name 1", "call 2", "call 3", END],
      ["r0 = 1; r0 = 2", END],
      [END],
      ["r6 = 0; if r6 == 0 goto 1; r0 = 1", END],
    ],
    says: "",
  },
  {
    name: "a jump to the next instruction moves names and starts alike",
    functions: [["goto 0", "name 2", "call 1", END], [END], [END]],
    says: BUG(9),
  },
  {
    name: "a loop that is inlined, with 19 instructions for one",
    functions: [[...NEVER(2), "call 1", END], [END], [END]],
    says: BUG(31),
  },
  {
    name: "both functions of a program gone",
    functions: [[...NEVER(1), "name 2", END], [END], ["r0 = 1", END]],
    says: "",
  },
];

const { btf } = constructs();
const NAMES = ["tc_main", "less", "local", "on_timer"] as const;
const types = NAMES.map((name) => btf?.find(name, "func")[0]?.id ?? 0);

function link({ functions }: Row): { instructions: Instruction[]; starts: number[] } {
  const lines = functions.map((texts) =>
    texts.map((text) => {
      const [, verb, number] = /^(name|call) (\d)$/.exec(text) ?? [];
      const to = Number(number);
      if (verb === "name") return { to, code: [...assemble("r2 = 0 ll").instructions] };
      if (verb === "call") return { to, code: [...assemble("r1 = 0; r2 = 0; call pc+0").instructions] };
      return { to: undefined, code: [...assemble(text).instructions] };
    }),
  );
  const starts: number[] = [];
  let slots = 0;
  for (const rows of lines) {
    starts.push(slots);
    for (const { code } of rows) slots += code.length;
  }
  const instructions: Instruction[] = [];
  for (const { to, code } of lines.flat()) {
    for (const row of code) {
      const imm = (starts[to ?? 0] as number) - instructions.length - 1;
      const names = to !== undefined && row.opcode === 0x18;
      const calls = to !== undefined && row.opcode === 0x85;
      instructions.push(names ? { ...row, src: 4, imm } : calls ? { ...row, src: 1, imm } : row);
    }
  }
  return { instructions, starts };
}

describe("a function that is named and never reached:", () => {
  test.each(ROWS)("$name", (row) => {
    const { instructions, starts } = link(row);
    const { accepted, errno, log } = verify({
      name: "dead",
      type: "sched_cls",
      instructions,
      maps: new Map(),
      license: "GPL",
      btf,
      functionInfo: starts.map((slot, at) => ({ slot, type: types[at] as number })),
    });
    expect(accepted ? "" : `${errno} ${reasonOf(log)}`).toBe(row.says);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("and so says the kernel:"), () => {
  test.each(ROWS)("$name", async (row) => {
    using kernel = await Kernel.open();
    const spec = constructs();
    using own = linkObject(kernel, spec, Object.keys(spec.programs)).btf;
    const { instructions, starts } = link(row);
    const records = starts.flatMap((slot, at) => [slot, types[at] as number]);
    const { result, log } = attemptLoad(
      kernel,
      {
        type: "sched_cls",
        instructions,
        license: "GPL",
        ...(own === undefined ? {} : { btf: own }),
        functionInfo: { recordSize: 8, bytes: new Uint8Array(Uint32Array.from(records).buffer) },
      },
      1,
    );
    if (result >= 0) closeSync(result);
    expect(result >= 0 ? "" : `${nameOfErrno(result)} ${reasonOf(log)}`).toBe(row.says);
  });
});
