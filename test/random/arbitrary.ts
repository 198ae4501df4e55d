/**
 * Programs that nobody promised anything about, for decoders, checks and the sandbox: valid programs with some bits
 * changed, and slots made of table rows or of nothing but chance.
 */
import { INSTRUCTIONS, type Instruction } from "../../src/isa/index.ts";
import { generate } from "./generate.ts";
import type { GeneratedProgram } from "./model.ts";
import { Random } from "./prng.ts";
import { randomImm } from "./values.ts";

/** A program of up to `length` slots, by seed. One in two is a generated program with a few changes. */
export function arbitrary(seed: number, length = 64): GeneratedProgram {
  const random = new Random(seed ^ 0x0a4b17);
  const program = generate(seed);
  const instructions = random.chance(0.5)
    ? mutate(random, program.instructions)
    : Array.from({ length: random.between(1, length) }, () => slot(random));
  return {
    ...program,
    name: `arbitrary_${seed}`,
    instructions,
    references: new Map([...program.references].filter(([at]) => instructions[at]?.opcode === 0x18)),
    functions: [{ name: "main", start: 0, end: instructions.length }],
  };
}

function mutate(random: Random, instructions: readonly Instruction[]): Instruction[] {
  const changed = [...instructions];
  for (let count = random.between(1, 5); count > 0; count--) {
    const at = random.below(changed.length);
    const before = changed[at] as Instruction;
    const field = random.pick(["opcode", "dst", "src", "offset", "imm", "swap", "remove"] as const);
    if (field === "remove") changed.splice(at, 1);
    else if (field === "swap") changed[at] = random.pick(changed);
    else changed[at] = { ...before, [field]: slot(random)[field] };
    if (changed.length === 0) changed.push(before);
  }
  return changed;
}

/** Half of them follow a row of the table. */
function slot(random: Random): Instruction {
  const chance: Instruction = {
    opcode: random.below(256),
    dst: random.below(random.chance(0.9) ? 11 : 16),
    src: random.below(random.chance(0.9) ? 11 : 16),
    offset: random.pick([0, 0, 1, -1, random.between(-20, 20), random.between(-0x8000, 0x7fff)]),
    imm: random.pick([0, 1, randomImm(random)]),
  };
  if (random.chance(0.5)) return chance;
  const { opcode, fields } = random.pick(INSTRUCTIONS);
  return {
    opcode,
    dst: typeof fields.dst === "number" ? fields.dst : chance.dst,
    src: typeof fields.src === "number" ? fields.src : chance.src,
    offset: typeof fields.offset === "number" ? fields.offset : chance.offset,
    imm:
      typeof fields.imm === "number" ? fields.imm : fields.imm === "id" ? random.between(1, 220) : chance.imm,
  };
}
