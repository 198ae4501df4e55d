/**
 * Whether what the verifier accepts is safe, and what it says of registers true, with no kernel: accepted programs run step by step in
 * the sandboxed interpreter, which stops at any access that is not allowed, and before each instruction every register that may still
 * be read must lie within one of the states that the verifier had there.
 */
import { BpfError } from "../../src/errors.ts";
import { type BpfMap, Machine, type Program } from "../../src/machine/index.ts";
import {
  type FrameView,
  type InstructionView,
  type RegisterView,
  type VerifierMap,
  verify,
} from "../../src/verifier/index.ts";
import { Random } from "../random/prng.ts";
import { GENERATED_MAPS, type GeneratedProgram, generateForVerifier } from "../verify-diff/generate.ts";

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
/** Milliseconds of one verification. */
const LIMIT = 3000;

export class SoundnessBench {
  #machine: Machine | undefined;
  #maps: readonly BpfMap[] = [];
  #programs = 0;

  async check(seed: number): Promise<SoundnessOutcome> {
    const generated = generateForVerifier(seed);
    const { type, instructions } = generated;
    const begin = performance.now();
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
        cancelled: () => performance.now() - begin > LIMIT,
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
      if (error instanceof BpfError && error.code === "instruction") return undefined;
      throw error;
    }
  }
}

/** A register outside of what the verifier knows. */
class Unsound extends Error {}

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
        if (!view.visits.some((visit) => holds(visit, view.live, registers, depth, context, data))) {
          throw new Unsound(`instruction ${slot}: ${mismatch(view, registers, depth, context, data)}`);
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

function holds(
  visit: FrameView,
  live: number,
  registers: readonly bigint[],
  depth: number,
  context: bigint,
  data: bigint,
): boolean {
  if (visit.frame !== depth) return false;
  for (let regno = 0; regno < 10; regno++) {
    if (((live >> regno) & 1) === 0) continue;
    const view = visit.registers[regno];
    // What must not be read may hold anything.
    if (view === undefined) continue;
    if (!within(view, registers[regno] as bigint, registers[10] as bigint, depth, context, data))
      return false;
  }
  return true;
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

function inRange({ value: parts }: RegisterView, given: bigint): boolean {
  const unsigned = BigInt.asUintN(64, given);
  const signed = BigInt.asIntN(64, given);
  const low = Number(BigInt.asUintN(32, given));
  return (
    (unsigned & ~parts.mask) === parts.value &&
    unsigned >= parts.umin &&
    unsigned <= parts.umax &&
    signed >= parts.smin &&
    signed <= parts.smax &&
    low >= parts.u32min &&
    low <= parts.u32max &&
    (low | 0) >= parts.s32min &&
    (low | 0) <= parts.s32max
  );
}

/** For people: what does not fit into the visit that fits best. */
function mismatch(
  view: InstructionView,
  registers: readonly bigint[],
  depth: number,
  context: bigint,
  data: bigint,
): string {
  let best: string[] | undefined;
  for (const visit of view.visits) {
    if (visit.frame !== depth) continue;
    const wrong: string[] = [];
    for (let regno = 0; regno < 10; regno++) {
      if (((view.live >> regno) & 1) === 0) continue;
      const known = visit.registers[regno];
      const value = registers[regno] as bigint;
      if (known === undefined || within(known, value, registers[10] as bigint, depth, context, data))
        continue;
      wrong.push(`r${regno}=0x${value.toString(16)} is no ${shown(known)}`);
    }
    if (best === undefined || wrong.length < best.length) best = wrong;
  }
  return best?.join(", ") ?? "no visit in a frame of this depth";
}

function shown({ type, offset, value }: RegisterView): string {
  const fields = Object.entries(value).map(([name, number]) => `${name}=${String(number)}`);
  return `${type}(off=${offset},${fields.join(",")})`;
}

/** Checks `count` programs from a seed on; told of every one that is unsound. */
export async function checkSoundness(
  count: number,
  seed: number,
  tell: (seed: number, what: string) => void,
  goesOn: (done: number) => boolean = () => true,
): Promise<{
  readonly programs: number;
  readonly accepted: number;
  readonly compared: number;
  readonly unknown: number;
  readonly unsound: number;
  readonly steps: number;
}> {
  const bench = new SoundnessBench();
  const sums = { programs: 0, accepted: 0, compared: 0, unknown: 0, unsound: 0, steps: 0 };
  for (let at = seed; at < seed + count && goesOn(at - seed); at++) {
    const outcome = await bench.check(at);
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
