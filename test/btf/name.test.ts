import { describe, expect, it } from "vitest";
import { declaration, parseBtf, typeName } from "../../src/btf/index.ts";
import { type BtfSource, buildBtf, int, member } from "./build.ts";

/** Each type with its C name, and a declaration of `x` with it. */
const ROWS: readonly (readonly [type: BtfSource, name: string, declaration: string])[] = [
  [int("int", 4), "int", "int x"], // 1
  [{ kind: "ptr", name: "", type: 1 }, "int *", "int *x"], // 2
  [{ kind: "const", name: "", type: 1 }, "const int", "const int x"], // 3
  [{ kind: "ptr", name: "", type: 3 }, "const int *", "const int *x"], // 4
  [{ kind: "const", name: "", type: 2 }, "int *const", "int *const x"], // 5
  [{ kind: "volatile", name: "", type: 3 }, "volatile const int", "volatile const int x"], // 6
  [{ kind: "array", name: "", type: 1, indexType: 1, length: 4 }, "int[4]", "int x[4]"], // 7
  [{ kind: "array", name: "", type: 7, indexType: 1, length: 2 }, "int[2][4]", "int x[2][4]"], // 8
  [{ kind: "ptr", name: "", type: 7 }, "int (*)[4]", "int (*x)[4]"], // 9
  [{ kind: "array", name: "", type: 2, indexType: 1, length: 3 }, "int *[3]", "int *x[3]"], // 10
  [
    { kind: "struct", name: "flow_key", size: 4, members: [member("a", 1, 0)] },
    "struct flow_key",
    "struct flow_key x",
  ], // 11
  [{ kind: "union", name: "", size: 0, members: [] }, "union (anonymous)", "union (anonymous) x"], // 12
  [{ kind: "enum", name: "color", size: 4, signed: false, values: [] }, "enum color", "enum color x"], // 13
  [{ kind: "fwd", name: "opaque", union: true }, "union opaque", "union opaque x"], // 14
  [{ kind: "typedef", name: "key_t", type: 11 }, "key_t", "key_t x"], // 15
  [{ kind: "ptr", name: "", type: 0 }, "void *", "void *x"], // 16
  [
    {
      kind: "func_proto",
      name: "",
      type: 1,
      parameters: [
        { name: "a", type: 2 },
        { name: "", type: 0 },
      ],
    },
    "int (int *a, ...)",
    "int x(int *a, ...)",
  ], // 17
  [{ kind: "ptr", name: "", type: 17 }, "int (*)(int *a, ...)", "int (*x)(int *a, ...)"], // 18
  [
    { kind: "func_proto", name: "", type: 18, parameters: [] },
    "int (*(void))(int *a, ...)",
    "int (*x(void))(int *a, ...)",
  ], // 19
  [
    { kind: "array", name: "", type: 18, indexType: 1, length: 2 },
    "int (*[2])(int *a, ...)",
    "int (*x[2])(int *a, ...)",
  ], // 20
  [{ kind: "type_tag", name: "user", type: 1 }, "int", "int x"], // 21
  [
    { kind: "func", name: "main", type: 17, linkage: "global" },
    "int main(int *a, ...)",
    "int x(int *a, ...)",
  ], // 22
  [{ kind: "var", name: "list", type: 7, linkage: "global" }, "int list[4]", "int x[4]"], // 23
  [{ kind: "array", name: "", type: 1, indexType: 1, length: 0 }, "int[]", "int x[]"], // 24
  [{ kind: "restrict", name: "", type: 2 }, "int *restrict", "int *restrict x"], // 25
];

const btf = parseBtf(buildBtf(ROWS.map(([type]) => type)));

describe("C names", () => {
  it.each(ROWS.map(([, name, text], index) => [name, text, index + 1] as const))("%s", (name, text, id) => {
    expect(typeName(btf, id)).toBe(name);
    expect(declaration(btf, id, "x")).toBe(text);
  });

  it("have an end", () => {
    const loop = parseBtf(
      buildBtf([
        { kind: "ptr", name: "", type: 1 },
        { kind: "func_proto", name: "", type: 2, parameters: [{ name: "f", type: 2 }] },
      ]),
    );
    expect(() => typeName(loop, 1)).toThrow(/deeper than 32/);
    expect(() => typeName(loop, 2)).toThrow(/deeper than 32/);
  });

  it("of functions that take and return each other stay short", () => {
    const types: BtfSource[] = Array.from({ length: 25 }, (_, index) => ({
      kind: "func_proto",
      name: "",
      type: index,
      parameters: Array.from({ length: 50 }, () => ({ name: "p", type: index })),
    }));
    const name = typeName(parseBtf(buildBtf(types)), 25);
    expect(name).toContain("...");
    expect(name.length).toBeLessThan(100_000);
  });
});
