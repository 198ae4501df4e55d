/** The core's constants against the tables that they repeat: AssemblyScript compiles plain constants only. */
import { describe, expect, test } from "vitest";
import * as opcodes from "../../src/core/assembly/interpreter/opcodes.ts";
import * as uapi from "../../src/core/assembly/uapi.ts";
import { CORE_HELPERS, type CoreHelper, instantiateCore } from "../../src/core/index.ts";
import * as layout from "../../src/core/layout.ts";
import { ROWS_BY_OPCODE } from "../../src/isa/index.ts";
import { ERRNO, MAP_TYPES, PROGRAM_TYPES, helperId } from "../../src/uapi/index.ts";
import { Bench } from "./harness.ts";

test("opcodes have the name of the first row, and none is missing", () => {
  const table = Object.fromEntries(
    ROWS_BY_OPCODE.flatMap(([row], opcode) => (row === undefined ? [] : [[row.name.toUpperCase(), opcode]])),
  );
  expect({ ...opcodes }).toEqual(table);
});

describe("uapi", () => {
  const named = Object.entries(uapi);
  const idOf = (rows: readonly { id: number; name: string }[], name: string): number | undefined =>
    rows.find((row) => row.name === name.toLowerCase())?.id;

  test.each(named.filter(([name]) => /^(E|HELPER_|MAP_TYPE_|PROG_TYPE_)/.test(name)))("%s", (name, value) => {
    const [, prefix, rest = ""] = /^(HELPER_|MAP_TYPE_|PROG_TYPE_|)(.*)$/.exec(name) ?? [];
    const errno = ERRNO as Readonly<Record<string, number>>;
    const expected = {
      HELPER_: () => helperId(rest.toLowerCase()),
      MAP_TYPE_: () => idOf(MAP_TYPES, rest),
      PROG_TYPE_: () => idOf(PROGRAM_TYPES, rest),
      "": () => errno[rest],
    }[prefix ?? ""];
    expect(expected?.()).toBe(value);
  });
});

test("every helper of the table is an export, takes as many arguments, and the interpreter runs it itself", () => {
  const ids: number[] = [];
  const bench = new Bench({ host: { call_helper: (id) => ids.push(id) } });
  const exports = bench.core as unknown as Readonly<Record<string, unknown>>;
  for (const { name, args, calls } of CORE_HELPERS as readonly CoreHelper[]) {
    const { [name]: helper } = exports;
    expect(typeof helper, name).toBe("function");
    expect((helper as (...values: unknown[]) => unknown).length, name).toBe(
      args.length + (calls === undefined ? 0 : 2),
    );
    expect(helperId(name), name).toBeTypeOf("number");
  }
});

test("fields of a structure do not overlap", () => {
  const groups: readonly [RegExp, number, Readonly<Record<string, number>>][] = [
    [
      /^EXEC_(?!SIZE)/,
      layout.EXEC_SIZE,
      { EXEC_REGS: 88, EXEC_COUNT: 8, EXEC_RANDOM: 8, EXEC_FRAMES: layout.MAX_NESTED * layout.FRAME_RECORD },
    ],
    [/^FRAME_RECORD_/, layout.FRAME_RECORD, { FRAME_RECORD_CONTEXT: 8 }],
    [/^(FUNC|PROG)_(?!SIZE|.*_SIZE)/, layout.PROG_SIZE, {}],
    [/^RUN_(?!SIZE)/, layout.RUN_SIZE, { RUN_FUEL: 8 }],
    [/^RECORD_(?!SIZE)/, layout.RECORD_SIZE, {}],
    [/^EMBED_(?!SIZE|PROGRAM_SIZE)/, layout.EMBED_SIZE, { EMBED_INPUT: 8, EMBED_BUFFER: 8, EMBED_OUT: 8 }],
    [/^MAP_(?!SIZE|PRIVATE)/, layout.MAP_PRIVATE, {}],
  ];
  for (const [pattern, size, widths] of groups) {
    const fields = Object.entries(layout)
      .filter(([name]) => pattern.test(name))
      .toSorted((a, b) => a[1] - b[1]);
    expect(fields.length).toBeGreaterThan(4);
    let end = 0;
    for (const [name, offset] of fields) {
      expect(offset, name).toBeGreaterThanOrEqual(end);
      end = offset + (widths[name] ?? 4);
    }
    expect(end, String(pattern)).toBeLessThanOrEqual(size);
  }
  expect(layout.EXEC_REDIRECT_MAP).toBe(layout.EXEC_FRAMES + layout.MAX_NESTED * layout.FRAME_RECORD);
  expect(layout.MAX_NESTED).toBe(layout.MAX_TAIL_CALLS * (layout.MAX_FRAMES - 1) + layout.MAX_FRAMES);
  expect(layout.STACK_BYTES).toBe(layout.MAX_NESTED * layout.FRAME_SIZE);
});

test("exec and fuel are mutable globals", () => {
  const { core } = new Bench();
  expect(core.exec).toBeInstanceOf(WebAssembly.Global);
  core.fuel.value = 5n;
  expect(core.fuel.value).toBe(5n);
  expect(core.exec.value >>> 0).toBe(core.exec_of(0) >>> 0);
  expect(instantiateCore).toBeTypeOf("function");
});
