/**
 * Contexts of the types that the kernel does not test-run: each field is loaded at every width and place that the table allows and stored to where that
 * is allowed, in both engines, after our verifier has taken the program; what is not allowed it refuses in the kernel's words. What a narrow load gives
 * is what convert_ctx_accesses (kernel/bpf/verifier.c) makes of it: a part of the field, or all of it where the kernel's own is no larger than the load.
 */
import { describe, expect, it } from "vitest";
import { HOOKS, type ContextField, type Hook, contextAccess, returnRule } from "../../src/hooks/index.ts";
import type { RunInput } from "../../src/machine/index.ts";
import type { AttachType } from "../../src/uapi/index.ts";
import { verify } from "../../src/verifier/index.ts";
import { SEED, fieldProgram, scalarAccesses } from "../kernel/field-program.ts";
import { inMachines, seedValue } from "../kernel/field-sides.ts";
import { Random } from "../kernel/random-input.ts";
import { insn, returning } from "../kernel/setup.ts";

/** Bytes of a tracepoint's record behind the kernel's own 8. */
const RECORD = 256;

const CASES = HOOKS.filter(
  ({ testRun, packet, context }) => testRun !== true && packet === undefined && context.arguments !== true,
).flatMap((hook): [string, Hook, AttachType | undefined][] => {
  const types = hook.attach ?? [];
  const named = hook.anyAttach === true ? [undefined] : types;
  return named.map((attach) => [attach === undefined ? hook.type : `${hook.type} ${attach}`, hook, attach]);
});

type Values = ReadonlyMap<ContextField, readonly bigint[]>;

/** What each field of a context is given, as large as the kernel's own can hold. */
function randomValues(random: Random, { context }: Hook): Values {
  const values = new Map<ContextField, readonly bigint[]>();
  for (const field of context.fields) {
    if (field.input !== true || field.kind !== undefined) continue;
    const { name, size, count = 1, kept, bits } = field;
    const width = kept === undefined ? (bits ?? size * 8) : kept * 8;
    // A port in network order stands in the upper half.
    const shift = name === "remote_port" && kept !== undefined ? 16n : 0n;
    const one = (): bigint => BigInt.asUintN(width, random.wide()) << shift;
    values.set(field, Array.from({ length: count }, one));
  }
  return values;
}

function inputOf(
  { type, context }: Hook,
  values: Values,
  random: Random,
): { input: RunInput; words?: readonly bigint[]; record?: Uint8Array } {
  const entries = [...values].map(([{ name, size, count }, given]): [string, number | bigint | number[]] => [
    name,
    count !== undefined ? given.map(Number) : size === 8 ? (given[0] as bigint) : Number(given[0]),
  ]);
  if (type === "kprobe")
    return { input: { registers: Object.fromEntries(entries) as Record<string, bigint> } };
  if (type === "perf_event") {
    const {
      sample_period: period,
      addr,
      ...registers
    } = Object.fromEntries(entries) as Record<string, bigint>;
    return { input: { registers, sample: { period: period as bigint, addr: addr as bigint } } };
  }
  if (type === "tracepoint") {
    const record = random.bytes(RECORD);
    const format = `field:u8 raw[${RECORD}]; offset:8; size:${RECORD}; signed:0;`;
    return { input: { format, fields: { raw: record } }, record };
  }
  if (type === "raw_tracepoint_writable") {
    const words = Array.from({ length: context.size / 8 }, () => random.wide());
    return { input: { args: words }, words };
  }
  return { input: { context: Object.fromEntries(entries) } };
}

/** What a load of `size` bytes at `offset` gives. */
function loaded(
  field: ContextField,
  given: readonly bigint[],
  offset: number,
  size: number,
  signed: boolean,
): bigint {
  const index = Math.floor((offset - field.offset) / field.size);
  const within = (offset - field.offset) % field.size;
  const element = given[index] ?? 0n;
  const all = field.kept !== undefined && size < field.size && size >= field.kept;
  if (all && !signed) return element;
  const whole = size > field.size ? element | ((given[index + 1] ?? 0n) << 32n) : element;
  const part = whole >> BigInt(all ? 0 : 8 * within);
  return BigInt.asUintN(64, signed ? BigInt.asIntN(8 * size, part) : BigInt.asUintN(8 * size, part));
}

const range = (bytes: Uint8Array, offset: number, size: number, signed: boolean): bigint => {
  let value = 0n;
  for (let byte = size - 1; byte >= 0; byte--) value = (value << 8n) | BigInt(bytes[offset + byte] ?? 0);
  return signed ? BigInt.asUintN(64, BigInt.asIntN(8 * size, value)) : value;
};

describe.each(CASES)("%s", (_name, hook, attach) => {
  const target = { type: hook.type, ...(attach === undefined ? {} : { attachType: attach }) };
  const options = {
    result: returnRule(hook, attach).range?.[0] ?? 0,
    ...(hook.type === "tracepoint" ? { until: 8 + RECORD } : {}),
  };

  it("loads and stores at every width", { timeout: 60_000 }, async () => {
    const program = fieldProgram(hook, attach, options);
    const machines = await inMachines(program, target);
    const random = new Random(hook.context.size);
    for (let round = 0; round < 3; round++) {
      const values = randomValues(random, hook);
      const { input, words: given, record } = inputOf(hook, values, random);
      const seed = seedValue(random);
      const seeds = new DataView(seed.buffer, SEED);
      const bytes =
        record === undefined
          ? given === undefined
            ? undefined
            : new Uint8Array(BigUint64Array.from(given).buffer)
          : Uint8Array.from([...new Uint8Array(8), ...record]);
      const expected: Record<string, bigint> = {};
      for (const { offset, size, field } of scalarAccesses(hook, attach, false, options)) {
        for (const signed of [false, true]) {
          if (
            signed &&
            (size === 8 || contextAccess(hook, attach, { offset, size, write: false, signed }) === undefined)
          )
            continue;
          const known = field === undefined ? undefined : values.get(field);
          if (known === undefined && bytes === undefined) continue;
          const name = `${field?.name ?? "context"} ${signed ? "s" : "u"}${size * 8} at ${offset}`;
          expected[name] =
            field === undefined || known === undefined
              ? range(bytes as Uint8Array, offset, size, signed)
              : loaded(field, known, offset, size, signed);
        }
      }
      const left = new Map<string, bigint>();
      scalarAccesses(hook, attach, true, options).forEach(({ offset, size, field }, index) => {
        if (field === undefined || size !== field.size) return;
        const width = field.bits ?? 8 * size;
        const word = BigInt.asUintN(width, seeds.getBigUint64(8 * (1 + (index % 7)), true));
        left.set(`${offset}`, word);
        if (contextAccess(hook, attach, { offset, size, write: false })?.kind !== "scalar") return;
        expected[`${field.name} u${8 * size} at ${offset} written`] = word;
      });
      for (const one of machines) {
        const { run, words } = one.run(seed, input);
        expect(words).toMatchObject(expected);
        for (const { name, offset, size, count, write, signed } of hook.context.fields) {
          if (write === undefined || !left.has(`${offset}`) || count !== undefined) continue;
          const after = BigInt.asUintN(8 * size, BigInt(run.context[name] as number | bigint));
          expect([name, signed === true, after]).toEqual([name, signed === true, left.get(`${offset}`)]);
        }
      }
      expect(Object.keys(expected).length).toBeGreaterThan(0);
    }
  });

  it("what is not allowed is refused as the kernel says it", () => {
    const LOAD: Readonly<Record<number, number>> = { 1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79 };
    const STORE: Readonly<Record<number, number>> = { 1: 0x73, 2: 0x6b, 4: 0x63, 8: 0x7b };
    const end = Math.min(hook.context.size + 8, 400);
    let refused = 0;
    for (let offset = 0; offset < end; offset++) {
      for (const size of [1, 2, 4, 8]) {
        for (const write of [false, true]) {
          if (contextAccess(hook, attach, { offset, size, write }) !== undefined) continue;
          // A store takes the context's own address, which no context keeps.
          const code = write
            ? [insn(0xb7, 2), insn(STORE[size] as number, 1, 2, offset)]
            : [insn(LOAD[size] as number, 0, 1, offset)];
          const { accepted, complaint, log } = verify({
            name: "refused",
            ...target,
            instructions: [...code, ...returning(options.result)],
            maps: new Map(),
            license: "GPL",
          });
          refused++;
          expect([offset, size, write, accepted]).toEqual([offset, size, write, false]);
          expect(`${complaint}\n${log}`).toContain(`invalid bpf_context access off=${offset} size=${size}`);
        }
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});
