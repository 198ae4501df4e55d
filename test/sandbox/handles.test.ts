/**
 * Hostile uses of handles, test/fixtures/handles.bpf.c: each program is stopped at the line that says STOP, with what stands there in
 * the message, or runs to its end and returns 0. In both engines the same.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import { ENGINES, Machine, type Program } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

const FIXTURE = "test/fixtures/handles.bpf";
const spec = parseObject(readFileSync(join(ROOT, `${FIXTURE}.o`)), { name: "handles.bpf.o" });
const packet = new Uint8Array(64);

interface Stop {
  readonly line: number;
  /** What the message says. */
  readonly says: RegExp;
}

/** Where programs are to be stopped: the first such line after a program's own, or in a function before it that it calls. */
function stops(): ReadonlyMap<string, Stop> {
  const found = new Map<string, Stop>();
  let program = "";
  let before: Stop | undefined;
  readFileSync(join(ROOT, `${FIXTURE}.c`), "utf8")
    .split("\n")
    .forEach((text, index) => {
      const begins = /^HOSTILE int (\w+)\(/.exec(text)?.[1];
      if (text.startsWith("static")) program = "";
      if (begins !== undefined) {
        program = begins;
        if (before !== undefined) found.set(program, before);
        before = undefined;
      }
      const says = /\/\* STOP (.*) \*\//.exec(text)?.[1];
      if (says === undefined) return;
      const stop = { line: index + 1, says: new RegExp(says) };
      if (program === "") before = stop;
      else found.set(program, stop);
    });
  return found;
}

const STOPS = stops();
/** Told by what it costs, not by where it is. */
const OUT_OF_FUEL = ["endless_iterator"];

async function load(name: string, engine: (typeof ENGINES)[number]): Promise<[Machine, Program]> {
  const machine = await Machine.create({
    engine,
    unverified: "sandbox",
    clock: "virtual",
    cpus: 2,
    fuel: 100_000,
  });
  const { programs } = await machine.load(spec, { programs: [name] });
  return [machine, programs[name] as Program];
}

function outcome(program: Program): number | BpfError {
  try {
    return program.run({ packet }).returnValue;
  } catch (error) {
    if (error instanceof BpfError) return error;
    throw error;
  }
}

describe.each(ENGINES)("%s", (engine) => {
  const names = Object.keys(spec.programs).filter((name) => !OUT_OF_FUEL.includes(name));

  test.each(names)("%s", async (name) => {
    const [, program] = await load(name, engine);
    let result = outcome(program);
    // What a first run leaves behind must not help a second one.
    if (typeof result === "number") {
      expect(result).toBe(0);
      result = outcome(program);
    }
    const stop = STOPS.get(name);
    if (stop === undefined) {
      expect(result).toBe(0);
      return;
    }
    expect(result).toBeInstanceOf(BpfError);
    const { code, message, where } = result as BpfError;
    expect(code).toBe("fault");
    expect(message).toMatch(stop.says);
    expect(message).toMatch(`program '${name}': instruction `);
    expect(where.source).toMatch(new RegExp(`handles\\.bpf\\.c:${stop.line}$`));
  });

  test("endless loops over iterators use up the fuel", async () => {
    const [, program] = await load("endless_iterator", engine);
    expect(outcome(program)).toMatchObject({ code: "fuel" });
  });

  test("a timer that starts itself again rings once each time the clock comes to it", async () => {
    const [machine, program] = await load("endless_timer", engine);
    expect(outcome(program)).toBe(0);
    machine.advance(1000);
    machine.advance(5);
    expect(machine.maps["slots"]?.get(0)).toMatchObject({ after: 6n });
  });

  test("what a stopped run held is free again", async () => {
    const [machine, program] = await load("leaked_objects", engine);
    outcome(program);
    const before = machine.memory.alloc(8, "mark");
    machine.memory.free(before);
    for (let run = 0; run < 50; run++) outcome(program);
    expect(machine.memory.alloc(8, "mark")).toBe(before);
  });

  test("a lock that a run has kept does not stop the host, nor the next run", async () => {
    const [machine, program] = await load("ends_with_lock", engine);
    outcome(program);
    const [map] = Object.values(machine.maps).filter(({ fields }) =>
      fields.some(({ kind }) => kind === "spin_lock"),
    );
    const at = (map?.valueBase ?? 0) + (map?.fields.find(({ kind }) => kind === "spin_lock")?.offset ?? 0);
    expect(machine.memory.u32(at)).toBe(0);
    expect(outcome(program)).toBe(0);
  });

  test("objects of one program are not another one's", async () => {
    const [machine, program] = await load("given_away", engine);
    outcome(program);
    const slots = machine.maps["slots"];
    const kept = machine.memory.u32((slots?.valueBase ?? 0) + 24);
    const { instructions } = assemble(`r1 = ${kept} ll\nr0 = *(u64 *)(r1 + 0)\nexit`);
    const other = machine.loadInstructions(instructions, { name: "other", unverified: "sandbox" });
    expect(() => other.call()).toThrow(/program 'other': instruction 2: read of 8 bytes/);
    const { instructions: holding } = assemble(`r2 = 0 ll\nr1 = ${kept} ll\nr0 = *(u64 *)(r1 + 0)\nexit`);
    const holder = machine.loadInstructions(holding, {
      name: "holder",
      unverified: "sandbox",
      maps: { slots: slots as NonNullable<typeof slots> },
      references: new Map([[0, { kind: "map", map: "slots" }]]),
    });
    expect(holder.call()).toBe(0n);
  });
});

test("every program that must be stopped is one of the object", () => {
  expect([...STOPS.keys()].filter((name) => spec.programs[name] === undefined)).toEqual([]);
  expect(STOPS.size).toBeGreaterThan(50);
});
