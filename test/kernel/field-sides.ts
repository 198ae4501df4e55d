/** A program that goes through a context, in the kernel and here: verified by both, run by both engines. */
import { expect } from "vitest";
import { hookOf } from "../../src/hooks/index.ts";
import {
  type Kernel,
  type TestRun,
  type TestRunResult,
  createMap,
  loadProgram,
} from "../../src/kernel/index.ts";
import { Machine, type RunInput, type RunResult } from "../../src/machine/index.ts";
import { bareImage } from "../../src/machine/image.ts";
import { contextAccessesOf } from "../../src/machine/context-pointers.ts";
import type { AttachType, ProgramType } from "../../src/uapi/index.ts";
import { type VerifierProgram, verify } from "../../src/verifier/index.ts";
import { type FieldProgram, SEED, SEED_BYTES, VALUE_SIZE, wordsOf } from "./field-program.ts";
import type { Random } from "./random-input.ts";

const MAP = { type: "array", keySize: 4, valueSize: VALUE_SIZE, maxEntries: 1 } as const;
const KEY = new Uint8Array(4);
const SIDES = [
  { engine: "jit", unverified: "trusted" },
  { engine: "jit", unverified: "sandbox" },
  { engine: "interpreter", unverified: "sandbox" },
] as const;

export interface FieldTarget {
  readonly type: ProgramType;
  readonly attachType?: AttachType | undefined;
  readonly flags?: number;
  /** Of methods: the structure in the kernel's types, and which of its members. */
  readonly attachBtfId?: number;
  readonly member?: number;
  /** Of methods: the structure's name. */
  readonly interface?: string;
  /** What our verifier is to know beside the program. */
  readonly verifier?: Partial<VerifierProgram>;
}

/** The map's value before a run. */
export function seedValue(random: Random): Uint8Array {
  const value = new Uint8Array(VALUE_SIZE);
  value.set(random.bytes(SEED_BYTES), SEED);
  return value;
}

export function inKernel(
  kernel: Kernel,
  program: FieldProgram,
  { type, attachType, flags, attachBtfId, member }: FieldTarget,
): { run(seed: Uint8Array, input: TestRun): TestRunResult & { readonly words: Record<string, bigint> } } {
  const map = createMap(kernel, MAP);
  const loaded = loadProgram(kernel, {
    type,
    license: "GPL",
    instructions: program.instructions.map((one, index) =>
      index === program.slot ? { ...one, src: program.source, imm: map.fd } : one,
    ),
    ...(attachType === undefined ? {} : { expectedAttachType: attachType }),
    ...(flags === undefined ? {} : { flags }),
    ...(attachBtfId === undefined ? {} : { attachBtfId }),
    ...(member === undefined ? {} : { expectedAttachType: member }),
  });
  return {
    run(seed, input) {
      map.update(KEY, seed);
      const result = loaded.testRun(input);
      return { ...result, words: wordsOf(program, map.lookup(KEY)) };
    },
  };
}

/** Both engines, sandboxed and not. Our verifier must take the program, and see the same accesses to the context as a load without a proof. */
export async function inMachines(
  program: FieldProgram,
  { type, attachType, flags, interface: methods, verifier = {} }: FieldTarget,
): Promise<
  {
    readonly machine: Machine;
    run(
      seed: Uint8Array,
      input: RunInput,
    ): { readonly run: RunResult; readonly words: Record<string, bigint> };
  }[]
> {
  const attach = attachType === undefined ? {} : { attachType };
  const verdict = verify({
    name: "fields",
    type,
    ...attach,
    instructions: program.instructions.map((one, index) =>
      index === program.slot ? { ...one, src: program.source } : one,
    ),
    maps: new Map([[program.slot, { ...MAP, name: "m", flags: 0 }]]),
    license: "GPL",
    sleepable: flags !== undefined,
    ...verifier,
  });
  expect(verdict.accepted ? "accepted" : verdict.log).toBe("accepted");
  expect(hookOf(type).type).toBe(type);
  const image = bareImage("fields", type, program.instructions, new Map());
  expect(contextAccessesOf(image)).toEqual(verdict.contextAccesses);
  return Promise.all(
    SIDES.map(async ({ engine, unverified }) => {
      const { kernelBtf: btf } = verifier;
      const machine = await Machine.create({ engine, ...(btf === undefined ? {} : { btf }) });
      const map = machine.createMap({ ...MAP, name: "m", flags: 0 });
      const loaded = machine.loadInstructions(program.instructions, {
        type,
        unverified,
        ...attach,
        ...(methods === undefined ? {} : { interface: methods }),
        maps: { m: map },
        references: new Map([
          [
            program.slot,
            program.source === 1
              ? { kind: "map" as const, map: "m" }
              : { kind: "map_value" as const, map: "m", offset: 0 },
          ],
        ]),
      });
      return {
        machine,
        run(seed, input) {
          map.update(KEY, seed);
          const run = loaded.run(input);
          return { run, words: wordsOf(program, map.lookup(KEY)) };
        },
      };
    }),
  );
}
