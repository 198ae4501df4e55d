/** Tail calls and callbacks, where the fixtures do not go: the host's side, limits, and programs that no verifier passes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import { BpfMap, ENGINES, Machine, type Program } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

/** The errno, or the code of an error that has none. */
function refusal(work: () => unknown): string {
  try {
    work();
    return "done";
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return error.errno ?? error.code;
  }
}

/** `lddw` of the map `progs` stands wherever the text says `progs ll`. */
function load(machine: Machine, text: string, progs: BpfMap, name = "main", type?: ProgramType): Program {
  const { instructions } = assemble(text.replaceAll("progs ll", "0x7777 ll"));
  const references = new Map(
    instructions.flatMap(({ opcode, imm }, slot) =>
      opcode === 0x18 && imm === 0x7777 ? [[slot, { kind: "map", map: "progs" } as const]] : [],
    ),
  );
  return machine.loadInstructions(instructions, {
    name,
    maps: { progs },
    references,
    ...(type === undefined ? {} : { type }),
  });
}

const progArray = (machine: Machine, maxEntries = 4): BpfMap =>
  machine.createMap({ name: "progs", type: "prog_array", keySize: 4, valueSize: 4, maxEntries, flags: 0 });

const returning = (value: number): string => `r0 = ${value}\nexit`;

const TAIL_CALL = (index: number | string): string => `r2 = progs ll\nr3 = ${index}\ncall 12`;

describe("program arrays on the host's side", () => {
  let machine: Machine;
  let progs: BpfMap;
  beforeEach(async () => {
    machine = await Machine.create();
    progs = progArray(machine);
  });

  test("programs go in and out", () => {
    const one = load(machine, returning(1), progs, "one");
    const two = load(machine, returning(2), progs, "two");
    progs.setProgram(0, one);
    progs.set(3, two);
    expect(progs.programAt(0)).toBe(one);
    expect(progs.programAt(1)).toBeUndefined();
    expect(progs.programAt(-1)).toBeUndefined();
    expect(progs.programAt(4)).toBeUndefined();
    expect([...progs.entries()]).toEqual([
      [u32(0), "one"],
      [u32(3), "two"],
    ]);
    expect(progs.get(3)).toBe("two");
    expect(progs.size).toBe(2);
    // As bpf(2) does, a lookup gives ids: the first program of the machine has 1.
    expect(progs.lookup(u32(3))).toEqual(u32(2));
    progs.setProgram(3, one);
    progs.setProgram(0, undefined);
    progs.setProgram(0, undefined);
    expect(progs.delete(u32(0))).toBe(false);
    expect([...progs.entries()]).toEqual([[u32(3), "one"]]);
    expect(progs.size).toBe(1);
  });

  test("what is refused", async () => {
    const one = load(machine, returning(1), progs, "one", "xdp");
    const tc = load(machine, returning(1), progs, "tc", "sched_cls");
    progs.setProgram(0, one);
    const stranger = await Machine.create();
    const other = load(stranger, returning(1), progArray(stranger), "other", "xdp");
    const array = machine.createMap({
      name: "array",
      type: "array",
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
      flags: 0,
    });
    const rows: [string, () => unknown][] = [
      ["EINVAL", () => progs.setProgram(1, tc)],
      ["E2BIG", () => progs.setProgram(4, one)],
      ["E2BIG", () => progs.setProgram(4, undefined)],
      ["map", () => progs.setProgram(-1, one)],
      ["map", () => progs.setProgram(0.5, one)],
      ["map", () => progs.setProgram(0, other)],
      ["map", () => progs.update(u32(0), u32(1))],
      ["map", () => progs.set(0, 1)],
      ["map", () => array.setProgram(0, one)],
      // A program that calls through the array must be of its kind too.
      ["EINVAL", () => load(machine, `${TAIL_CALL(0)}\nexit`, progs, "tc", "sched_cls")],
      ["done", () => load(machine, `${TAIL_CALL(0)}\nexit`, progs, "xdp", "xdp")],
    ];
    expect(rows.map(([, work]) => refusal(work))).toEqual(rows.map(([expected]) => expected));
  });

  // Asked of Linux 6.18 through bpftool.
  test.each([
    ["value_size 8", { valueSize: 8 }],
    ["key_size 8", { keySize: 8 }],
    ["no entries", { maxEntries: 0 }],
    ["BPF_F_RDONLY_PROG", { flags: 1 << 7 }],
    ["BPF_F_WRONLY_PROG", { flags: 1 << 8 }],
    ["BPF_F_NO_PREALLOC", { flags: 1 }],
    ["BPF_F_ZERO_SEED", { flags: 1 << 6 }],
    ["BPF_F_MMAPABLE", { flags: 1 << 10 }],
    ["BPF_F_INNER_MAP", { flags: 1 << 12 }],
    ["BPF_F_RDONLY and BPF_F_WRONLY", { flags: 0x18 }],
  ])("EINVAL for %s", (_, change) => {
    const definition = {
      name: "progs",
      type: "prog_array",
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
      flags: 0,
    } as const;
    expect(refusal(() => machine.createMap({ ...definition, ...change }))).toBe("EINVAL");
  });

  test("a program array that an object starts with: its programs are loaded, and put into a live map as well", async () => {
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/tail-calls.bpf.o")), { name: "t.o" });
    const first = await machine.load(spec, { programs: ["miss"] });
    expect(Object.keys(first.programs)).toEqual(["miss", "first", "second", "again"]);
    const { programs: live } = first.maps;
    expect([...(live as BpfMap).entries()].map(([, name]) => name)).toEqual(["first", "second", "again"]);
    const next = await machine.load(spec, { programs: ["enter"], maps: { programs: live as BpfMap } });
    expect(live?.programAt(1)).toBe(next.programs["second"]);
    expect(next.programs["enter"]?.run({ packet: new Uint8Array(64) }).returnValue).toBe(0);
  });
});

describe.each(ENGINES)("tail calls in the %s", (engine) => {
  let machine: Machine;
  let progs: BpfMap;
  beforeEach(async () => {
    machine = await Machine.create({ engine, fuel: 1_000_000 });
    progs = progArray(machine);
  });

  test("a call that fails goes on with an error in r0; a program that is put there later is found", () => {
    const main = load(machine, `r6 = 5\n${TAIL_CALL(1)}\nexit`, progs);
    expect(BigInt.asIntN(64, main.call())).toBe(-2n);
    progs.setProgram(1, load(machine, returning(9), progs, "nine"));
    expect(main.call()).toBe(9n);
    progs.setProgram(1, load(machine, returning(10), progs, "ten"));
    expect(main.call()).toBe(10n);
    progs.setProgram(1, undefined);
    expect(BigInt.asIntN(64, main.call())).toBe(-2n);
  });

  test("r1 arrives whole, all other registers are 0", () => {
    const sum =
      "r0 = r1\nr0 += r2\nr0 += r3\nr0 += r4\nr0 += r5\nr0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit";
    progs.setProgram(0, load(machine, sum, progs, "sum"));
    const set = "r0 = 1\nr4 = 2\nr5 = 3\nr6 = 4\nr7 = 5\nr8 = 6\nr9 = 7\nr1 = 0x123456789abcdef0 ll";
    expect(load(machine, `${set}\n${TAIL_CALL(0)}\nexit`, progs).call()).toBe(0x123456789abcdef0n);
  });

  test("what a tail call below brings back is whole, however small the function's own result would be", () => {
    progs.setProgram(0, load(machine, "r0 = 0x123456789abcdef0 ll\nexit", progs, "wide"));
    const main = load(machine, `call sub\nexit\nsub:\n${TAIL_CALL(0)}\nr0 = 1\nexit`, progs);
    expect(main.call()).toBe(0x123456789abcdef0n);
    // The caller's facts about its own registers stay true as well.
    progs.setProgram(1, load(machine, "r6 = -1\nr0 = -1\nexit", progs, "minus"));
    const keeps = load(
      machine,
      `r6 = 3\ncall sub\nr0 += r6\nexit\nsub:\n${TAIL_CALL(1)}\nw0 = 1\nexit`,
      progs,
    );
    expect(keeps.call()).toBe(2n);
  });

  test("of the index the low half counts, as in the kernel", () => {
    progs.setProgram(0, load(machine, returning(3), progs, "three"));
    const main = load(machine, `r2 = progs ll\nr3 = 0x500000000 ll\ncall 12\nr0 = 1\nexit`, progs);
    expect(main.call()).toBe(3n);
  });

  test("a program that calls itself runs 34 times", () => {
    const counter = machine.memory.alloc(8, "counter");
    const self = load(
      machine,
      `r7 = *(u64 *)(r1 + 0)\nr7 += 1\n*(u64 *)(r1 + 0) = r7\n${TAIL_CALL(2)}\nr0 = r7\nexit`,
      progs,
    );
    progs.setProgram(2, self);
    expect(self.call(counter)).toBe(34n);
    expect(self.call(counter)).toBe(68n);
  });

  /** A program whose seventh nested function calls the program itself, so that seven frames stay each time. */
  const deep = (last: string): string => {
    const levels = Array.from({ length: 7 }, (_, level) => `call f${level}\nexit\nf${level}:`).join("\n");
    return `r7 = *(u64 *)(r1 + 0)\nr7 += 1\n*(u64 *)(r1 + 0) = r7\n${levels}\n${last}`;
  };

  test("33 times seven callers stay, and all of them come back", () => {
    const counter = machine.memory.alloc(8, "counter");
    // Each frame keeps a number of its own.
    const main = load(
      machine,
      deep(`*(u64 *)(r10 - 8) = r7\n${TAIL_CALL(0)}\nr0 = *(u64 *)(r10 - 8)\nexit`),
      progs,
    );
    progs.setProgram(0, main);
    const before = machine.memory.u64(counter);
    expect(before).toBe(0n);
    main.call(counter);
    expect(machine.memory.u64(counter)).toBe(34n);
  });

  test("a frame too many is one of the program that makes it", () => {
    progs.setProgram(0, load(machine, deep("call more\nexit\nmore:\nr0 = 0\nexit"), progs, "too_deep"));
    const counter = machine.memory.alloc(8, "counter");
    const main = load(machine, deep(`${TAIL_CALL(0)}\nexit`), progs);
    expect(() => main.call(counter)).toThrow(/^program 'too_deep': instruction 17: more than 8 nested calls/);
  });

  test("after a subprogram's tail call its caller may nest as deep as before, and calls its own functions", () => {
    progs.setProgram(0, load(machine, returning(5), progs, "five"));
    // Function +1 makes the tail call; then seven more frames, and a call through a register.
    const main = load(
      machine,
      `call sub
r6 = r0
call a
r6 += r0
r2 = 16 ll
r0 = r6
exit
sub:
${TAIL_CALL(0)}
exit
a:
call b
exit
b:
call c
exit
c:
call d
exit
d:
call e
exit
e:
call f
exit
f:
call g
exit
g:
r0 = 100
exit`,
      progs,
    );
    expect(main.call()).toBe(105n);
  });
});

describe.each(ENGINES)("callbacks in the %s", (engine) => {
  let machine: Machine;
  let progs: BpfMap;
  beforeEach(async () => {
    machine = await Machine.create({ engine, fuel: 1_000_000 });
    progs = progArray(machine);
  });

  /** bpf_loop over the function at label `callback`. */
  const LOOP = (rounds: number | string): string =>
    `r1 = ${rounds}\nr2 = callback ll\nr3 = 7\nr4 = 0\ncall 181`;

  test("a callback that ends in a tail call hands its result to the loop", () => {
    progs.setProgram(0, load(machine, "r0 = 0\nif r1 != 3 goto +1\nr0 = 1\nexit", progs, "stop_at_3"));
    const main = load(machine, `${LOOP(100)}\nexit\ncallback:\n${TAIL_CALL(0)}\nr0 = 1\nexit`, progs);
    expect(main.call()).toBe(4n);
    // 33 rounds end in the program; in the next one the call fails, and the callback stops by itself.
    progs.setProgram(0, load(machine, returning(0), progs, "go_on"));
    expect(main.call()).toBe(34n);
  });

  test("arguments: index, context, zeros", () => {
    const main = load(
      machine,
      `${LOOP(3)}\nexit\ncallback:\nr0 = r3\nr0 |= r4\nr0 |= r5\nif r2 == 7 goto +1\nr0 = 1\nexit`,
      progs,
    );
    expect(main.call()).toBe(3n);
  });

  test("a callback that loops over itself is too deep, and named", () => {
    const main = load(machine, `${LOOP(2)}\nexit\ncallback:\n${LOOP(2)}\nr0 = 0\nexit`, progs);
    expect(() => main.call()).toThrow(/^program 'main': instruction 12: more than 8 nested calls/);
  });

  test.each([
    ["a number", "r2 = 5"],
    ["an address outside the memory", "r2 = -16"],
    ["an address that is no function", "r2 = r10\nr2 += -16"],
  ])("%s is no callback", (_, set) => {
    const main = load(machine, `r1 = 1\n${set}\nr3 = 0\nr4 = 0\ncall 181\nexit`, progs);
    expect(() => main.call()).toThrow(/an indirect call of what is no function/);
  });

  test("rounds cost fuel", () => {
    const main = load(machine, `${LOOP(8_000_000)}\nexit\ncallback:\nr0 = 0\nexit`, progs);
    expect(refusal(() => main.call())).toBe("fuel");
  });

  test("r6 to r9 and the frame of the caller are its own", () => {
    const main = load(
      machine,
      `r6 = 1
r7 = 20
*(u64 *)(r10 - 8) = r7
${LOOP(3)}
r0 += r6
r1 = *(u64 *)(r10 - 8)
r0 += r1
exit
callback:
r6 = 77
*(u64 *)(r10 - 8) = r6
r0 = 0
exit`,
      progs,
    );
    expect(main.call()).toBe(24n);
  });

  test.each([
    ["bpf_loop with flags", `r1 = 1\nr2 = callback ll\nr3 = 0\nr4 = 1\ncall 181`, -22n],
    ["bpf_loop of 2^23 + 1 rounds", LOOP(0x800001), -7n],
    ["bpf_for_each_map_elem with flags", `r1 = progs ll\nr2 = callback ll\nr3 = 0\nr4 = 1\ncall 164`, -22n],
    [
      "bpf_for_each_map_elem of a map without elements to show",
      `r1 = progs ll\nr2 = callback ll\nr3 = 0\nr4 = 0\ncall 164`,
      -22n,
    ],
  ])("%s", (_, text, result) => {
    const main = load(machine, `${text}\nexit\ncallback:\nr0 = 0\nexit`, progs);
    expect(BigInt.asIntN(64, main.call())).toBe(result);
  });

  // The kernel looks up the next element before it calls back, and a freed one keeps its place until it is used again.
  test("a callback that deletes all elements sees at most the rest of its bucket once more", async () => {
    const KEYS = 4;
    const forget = Array.from(
      { length: KEYS },
      (_, index) => `r1 = r6\nr2 = r7\nr2 += ${4 + 4 * index}\ncall 3`,
    ).join("\n");
    const text = `r3 = r1
r1 = progs ll
r2 = callback ll
r4 = 0
call 164
exit
callback:
r6 = r1
r7 = r4
r1 = *(u32 *)(r2 + 0)
r3 = *(u32 *)(r7 + 0)
r4 = r3
r4 += 1
*(u32 *)(r7 + 0) = r4
r3 <<= 2
r3 += r7
*(u32 *)(r3 + 32) = r1
${forget}
r0 = 0
exit`;
    const counts: number[] = [];
    for (let seed = 1; seed <= 60; seed++) {
      machine = await Machine.create({ engine, seed });
      const [keySize, valueSize, maxEntries, flags] = [4, 8, KEYS, seed % 2];
      const map = machine.createMap({ name: "hash", type: "hash", keySize, valueSize, maxEntries, flags });
      const notes = machine.memory.alloc(64, "notes");
      for (let key = 1; key <= KEYS; key++) {
        map.update(u32(key), new Uint8Array(8));
        machine.memory.setU32(notes + 4 * key, key);
      }
      const count = Number(load(machine, text, map).call(notes));
      const seen = Array.from({ length: count }, (_, index) => machine.memory.u32(notes + 32 + 4 * index));
      expect(count).toBe(machine.memory.u32(notes));
      expect(new Set(seen).size).toBe(count);
      expect(seen.every((key) => key >= 1 && key <= KEYS)).toBe(true);
      expect(map.size).toBe(0);
      counts.push(count);
    }
    expect(Math.min(...counts)).toBe(1);
    expect(Math.max(...counts)).toBeGreaterThan(1);
  });
});
