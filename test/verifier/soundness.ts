/**
 * Whether what the verifier accepts is safe, and what it says of registers true, with no kernel: accepted programs run step by step in
 * the sandboxed interpreter, which stops at any access that is not allowed, and before each instruction every register that may still
 * be read must lie within one of the states that the verifier had there.
 */
import { BpfError } from "../../src/errors.ts";
import { type BpfMap, Machine, type Program } from "../../src/machine/index.ts";
import {
  type InstructionView,
  type RegisterView,
  type VerifierMap,
  verify,
} from "../../src/verifier/index.ts";
import { Random } from "../random/prng.ts";
import { GENERATED_MAPS, type GeneratedProgram, generateForVerifier } from "../verify-diff/generate.ts";
import { Unsound } from "./model/memory.ts";
import { holds, inRange, mismatch } from "./model/within.ts";

/** What came of one program. */
export type SoundnessOutcome =
  | { readonly kind: "rejected" | "unknown" }
  /** `states`: registers were compared, and not only accesses checked. */
  | { readonly kind: "sound"; readonly steps: number; readonly states: boolean }
  | { readonly kind: "unsound"; readonly what: string };

const MAPS: readonly VerifierMap[] = GENERATED_MAPS.map((map) => ({ ...map, flags: 0 }));
/** Programs stay in their machine's memory, so machines are renewed. */
const PROGRAMS_PER_MACHINE = 400;
const RUNS = 3;
const MOST_STEPS = 1_000_000;
/** Steps whose registers are compared: loops of thousands of rounds say nothing new. */
const COMPARED_STEPS = 3000;
/** Instructions of one verification: endless loops would go on to a million, a program like these that is fine never comes near. */
const MOST_PROCESSED = 60_000;

/** Says of one program after the other what came of it. */
export interface SoundnessChecker {
  check(seed: number): SoundnessOutcome | Promise<SoundnessOutcome>;
}

export class SoundnessBench implements SoundnessChecker {
  #machine: Machine | undefined;
  #maps: readonly BpfMap[] = [];
  #programs = 0;

  async check(seed: number): Promise<SoundnessOutcome> {
    const generated = generateForVerifier(seed);
    const { type, instructions } = generated;
    let processed = 0;
    const { accepted, errno, cancelled, states } = verify(
      {
        name: "random",
        type,
        instructions,
        maps: new Map([...generated.maps].map(([slot, map]) => [slot, MAPS[map] as VerifierMap])),
        license: "GPL",
      },
      {
        logLevel: 0,
        recordStates: true,
        cpus: 1,
        sound: true,
        progress: (now) => {
          processed = now;
        },
        cancelled: () => processed > MOST_PROCESSED,
      },
    );
    if (errno === "EOPNOTSUPP" || (cancelled && !accepted)) return { kind: "unknown" };
    if (!accepted) return { kind: "rejected" };
    const program = await this.#load(generated);
    // Fields of instructions that are never reached are the loader's business: Linux does not look at them.
    if (program === undefined) return { kind: "rejected" };
    const random = new Random(seed);
    let steps = 0;
    try {
      for (let run = 0; run < RUNS; run++) steps += observe(program, states, random);
    } catch (error) {
      if (error instanceof BpfError || error instanceof Unsound) {
        // Memory of the machine may be in a state that no run leaves behind.
        this.#machine = undefined;
        return { kind: "unsound", what: error.message };
      }
      throw error;
    }
    return { kind: "sound", steps, states: states.size > 0 };
  }

  async #load({ type, instructions, maps }: GeneratedProgram): Promise<Program | undefined> {
    if (this.#machine === undefined || this.#programs++ % PROGRAMS_PER_MACHINE === 0) {
      const machine = await Machine.create({
        engine: "interpreter",
        unverified: "sandbox",
        clock: "virtual",
      });
      // There is no process here; to the verifier this is a number like any other.
      machine.mockHelper("get_current_task", () => 0xffff_8880_0000_1000n);
      this.#machine = machine;
      this.#maps = GENERATED_MAPS.map((map) => machine.createMap({ ...map, flags: 0 }));
    }
    const references = new Map(
      [...maps].map(([slot, map]) => [slot, { kind: "map" as const, map: GENERATED_MAPS[map]?.name ?? "" }]),
    );
    try {
      return this.#machine.loadInstructions(instructions, {
        type,
        maps: Object.fromEntries(this.#maps.map((map) => [map.name, map])),
        references,
      });
    } catch (error) {
      // Verified programs may have what does not exist where nothing gets to.
      if (error instanceof BpfError && (error.code === "instruction" || error.code === "helper"))
        return undefined;
      throw error;
    }
  }
}

/** One run on a random packet; the number of steps. */
function observe(program: Program, states: ReadonlyMap<number, InstructionView>, random: Random): number {
  const packet = Uint8Array.from({ length: 14 + random.below(120) }, () => random.below(256));
  const debug = program.debug({ packet });
  try {
    const context = debug.register(1);
    const dataOffset = program.type === "xdp" ? 0n : 76n;
    const word = debug.readMemory(context + dataOffset, 4);
    const data = BigInt(new DataView(word.buffer, word.byteOffset, 4).getUint32(0, true));
    let steps = 0;
    do {
      if (steps < COMPARED_STEPS && states.size > 0) {
        const slot = debug.instruction;
        const view = states.get(slot);
        if (view === undefined) throw new Unsound(`instruction ${slot} was never walked`);
        const registers = debug.registers();
        const depth = debug.callStack().length - 1;
        const framePointer = registers[10] as bigint;
        const fits = (known: RegisterView, value: bigint): boolean =>
          within(known, value, framePointer, depth, context, data);
        if (!view.visits.some((visit) => holds(visit, view.live, registers, depth, fits))) {
          throw new Unsound(`instruction ${slot}: ${mismatch(view, registers, depth, fits)}`);
        }
      }
      if (++steps > MOST_STEPS) throw new Unsound("it does not end");
    } while (debug.step());
    debug.finish();
    return steps;
  } finally {
    debug.close();
  }
}

/** Whether a value is one of those that a view stands for. Pointers whose base is not known here are not looked at. */
function within(
  view: RegisterView,
  value: bigint,
  framePointer: bigint,
  depth: number,
  context: bigint,
  data: bigint,
): boolean {
  switch (view.type) {
    case "scalar":
      return inRange(view, value);
    case "ctx":
      return inRange(view, value - context - BigInt(view.offset));
    case "pkt":
      return inRange(view, value - data - BigInt(view.offset));
    case "fp":
      // Of a callee it may be the caller's frame.
      return depth > 0 || inRange(view, value - framePointer - BigInt(view.offset));
    case "map_value":
    case "ringbuf_mem":
    case "mem":
    case "sock":
      return value !== 0n;
    default:
      return true;
  }
}

/** What came of many programs. */
export interface SoundnessSums {
  readonly programs: number;
  readonly accepted: number;
  /** Accepted ones whose registers were compared. */
  readonly compared: number;
  readonly unknown: number;
  readonly unsound: number;
  readonly steps: number;
}

/** Checks `count` programs from a seed on; told of every one that is unsound, and asked after each whether to go on. */
export async function checkSoundness(
  checker: SoundnessChecker,
  count: number,
  seed: number,
  tell: (seed: number, what: string) => void,
  goesOn: (sums: SoundnessSums) => boolean = () => true,
): Promise<SoundnessSums> {
  const sums = { programs: 0, accepted: 0, compared: 0, unknown: 0, unsound: 0, steps: 0 };
  for (let at = seed; at < seed + count && goesOn(sums); at++) {
    const outcome = await checker.check(at);
    sums.programs++;
    if (outcome.kind === "unknown") sums.unknown++;
    if (outcome.kind === "sound" || outcome.kind === "unsound") sums.accepted++;
    if (outcome.kind === "sound") {
      sums.steps += outcome.steps;
      if (outcome.states) sums.compared++;
    } else if (outcome.kind === "unsound") {
      sums.unsound++;
      tell(at, outcome.what);
    }
  }
  return sums;
}
