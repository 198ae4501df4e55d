/** Whole modules: to text, through wabt, and back to the same bytes. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { toWat } from "../../src/wat/index.ts";
import { ROOT } from "../helpers.ts";
import { assemble, coreModule, everyRow, jitModules, moduleAround, wabtText } from "./oracle.ts";

/** Modules in wabt's notation, which its writer encodes in one way only. */
const MODULES: Readonly<Record<string, string>> = {
  empty: "(module)",
  "a named module": '(module $name (func $f (export "f")))',
  types: "(module (type (func)) (type (func (param i32 i64 f32 f64 funcref externref) (result i32 i32))))",
  imports: `(module
    (import "a" "f" (func $f (param i32) (result i32)))
    (import "a" "t" (table 1 2 funcref))
    (import "a" "m" (memory 1 3 shared))
    (import "a" "g" (global i32))
    (import "a" "h" (global (mut i64)))
    (export "f" (func $f)))`,
  "strings of any kind": `(module
    (import "" "\\00\\09\\22\\5c\\7f" (func))
    (import "\\e2\\82\\ac" "\\f0\\9f\\90\\9d ]" (func)))`,
  "exports and start": `(module
    (table $t 1 funcref) (memory $m 1) (global $g i32 (i32.const 7)) (func $main)
    (export "t" (table $t)) (export "m" (memory $m)) (export "g" (global $g)) (export "main" (func $main))
    (export "again" (func $main)) (start $main))`,
  globals: `(module
    (import "a" "b" (global $i i32))
    (global (mut i32) (i32.const -5)) (global i64 (i64.const 5)) (global f32 (f32.const nan:0x3))
    (global f64 (f64.const 1e300)) (global i32 (global.get $i)) (global funcref (ref.func 0))
    (global externref (ref.null extern)) (global i32 i32.const 1 global.get $i i32.add)
    (func))`,
  "element segments of every form": `(module
    (table $t 10 funcref) (table $u 10 funcref) (table $x 3 externref) (func $f) (func $g)
    (elem (i32.const 0) func $f $g)
    (elem func $f)
    (elem (table $u) (i32.const 1) func $g)
    (elem declare func $f)
    (elem (i32.const 2) funcref (ref.func $f) (ref.null func))
    (elem funcref (ref.null func))
    (elem (table $x) (i32.const 0) externref (ref.null extern))
    (elem declare funcref (ref.null func))
    (elem func))`,
  "data segments": `(module
    (import "a" "b" (global i32))
    (memory 1)
    (data (i32.const 16) "plain \\00\\ff\\"\\\\ bytes")
    (data (global.get 0) "")
    (data "passive, and long enough that it takes more than one line of thirty-two bytes to print")
    (data (offset i32.const 1 i32.const 2 i32.add) "x"))`,
  "nested blocks": `(module (func (param i32) (result i32)
    block $out (result i32)
      loop $again (result i32)
        local.get 0
        if (result i32)
          block $out
            local.get 0 br_table $out $again 3 4 $out
          end
          i32.const 1 br $again
        else
          i32.const 2 return
        end
        br_if $out
        i32.const 5
      end
    end))`,
  "names that clash": `(module
    (func $a (export "b")) (func $b) (func (export "a")) (func (export "x y"))  (func (export "x_y"))
    (func (export "")) (func call 0 call 1 call 2 call 3 call 4 call 5))`,
  "parameters and locals with and without names": `(module
    (func (param i32) (param $p i64) (param i32 i32) (local i32 i32) (local $l f32) (local f64) (local externref)
      local.get $p drop local.get 0 drop local.get $l drop local.get 7 drop))`,
  "a call of everything": moduleAround("unreachable return_call_indirect $third (type $t)"),
};

/** Objects that load as they are; between them they use whatever the compiler emits. */
const OBJECTS =
  "algorithms.v4 atomics bytes calls control globals helpers irreducible large maps may-goto packets signed socket stack tc";

/** The same module again, through text. */
function check(bytes: Uint8Array): void {
  const text = toWat(bytes);
  const again = assemble(text);
  expect(toWat(again)).toBe(withoutComments(text));
  expect(wabtText(again)).toBe(wabtText(bytes));
}

/** Custom sections become comments, so they are gone in the second text. */
function withoutComments(text: string): string {
  return text.replace(/^ *;;.*\n/gmu, "");
}

describe("round trip", () => {
  it.each(Object.entries(MODULES))("%s", (_, source) => {
    const bytes = assemble(source);
    check(bytes);
    expect(assemble(toWat(bytes), { names: false })).toEqual(assemble(source, { names: false }));
  });

  it("every row of the table in one function", () => check(everyRow()));

  it("core.wasm", () => check(coreModule));

  it("what the compiler emits, byte for byte", () => {
    for (const bytes of jitModules(100, false)) {
      expect(assemble(toWat(bytes), { names: false })).toEqual(bytes);
    }
  });

  it("what the compiler emits with names", () => {
    for (const bytes of jitModules(20, true)) {
      check(bytes);
      expect(toWat(bytes)).toContain("(func $main ");
    }
  });

  it.each(OBJECTS.split(" "))("programs of %s", async (name) => {
    const spec = parseObject(readFileSync(resolve(ROOT, `test/fixtures/${name}.bpf.o`)), { name });
    const machine = await Machine.create();
    const { programs } = await machine.load(spec);
    for (const program of Object.values(programs)) check(program.compile().module);
  });
});

describe("text", () => {
  const named = (source: string) => toWat(assemble(source));

  it("is what a reader expects", () => {
    const source = `(module
      (import "core" "fuel" (global (mut i64)))
      (func $count (export "run") (param $limit i32) (result i32) (local $i i32) (local i64 i64)
        loop $next
          local.get $i i32.const 1 i32.add local.tee $i local.get $limit i32.lt_u br_if $next
          block br 0 br 2 end
        end
        global.get 0 drop
        local.get $i)
      (memory 1)
      (data (i32.const 8) "hi\\n"))`;
    expect(named(source)).toBe(`(module
  (type (;0;) (func (param i32) (result i32)))
  (import "core" "fuel" (global $core.fuel (;0;) (mut i64)))
  (memory (;0;) 1)
  (export "run" (func $count))
  (func $count (;0;) (type 0) (param $limit i32) (result i32)
    (local $i i32) (local i64 i64)
    loop $loop0
      local.get $i
      i32.const 1
      i32.add
      local.tee $i
      local.get $limit
      i32.lt_u
      br_if $loop0
      block $block1
        br $block1
        br 2 (;function;)
      end $block1
    end $loop0
    global.get $core.fuel
    drop
    local.get $i)
  (data (;0;) (i32.const 8) "hi\\0a")
)
`);
  });

  it("escapes what a terminal would obey", () => {
    const text = named('(module (import "\\1b[31m" "\\e2\\80\\ae" (func)) (func $f))');
    expect(text).toMatch(/^[\n\x20-\x7e]*$/u);
    expect(text).toContain('(import "\\1b[31m" "\\e2\\80\\ae" (func $__31m._ (;0;)');
  });

  it("keeps names apart", () => {
    const text = named(MODULES["names that clash"] as string);
    const definitions = [...text.matchAll(/\(func (\S+ )?\(;\d;\)/gu)].map(([, name]) => name?.trim());
    expect(definitions).toEqual(["$a", "$b", "$a.2", "$x_y", "$x_y.4", undefined, undefined]);
  });

  it("uses all that a name section may name", () => {
    // Written by hand, since wabt writes no names of labels: subsections 3 (labels) and 7 (globals).
    const plain = assemble(
      "(module (global i32 (i32.const 1)) (func block block br 1 end end global.get 0 drop))",
      { names: false },
    );
    const labels = [3, 9, 1, 0, 2, 0, 1, 0x61, 1, 1, 0x62];
    const section = [4, 0x6e, 0x61, 0x6d, 0x65, ...labels, 7, 4, 1, 0, 1, 0x67];
    const bytes = Uint8Array.from([...plain, 0, section.length, ...section]);
    const text = toWat(bytes);
    expect(text).toContain("block $a\n");
    expect(text).toContain("block $b\n");
    expect(text).toContain("br $a\n");
    expect(text).toContain("global.get $g\n");
  });

  it("prints a module whose name section is damaged", () => {
    const bytes = Uint8Array.from([
      ...assemble('(module (func (export "f")))', { names: false }),
      0,
      7,
      4,
      0x6e,
      0x61,
      0x6d,
      0x65,
      1,
      9,
    ]);
    expect(toWat(bytes)).toMatch(
      /\(func \$f .*\n {2};; names incomplete: WebAssembly module: .* at offset \d+\n\)/su,
    );
  });

  it("mentions custom sections", () => {
    const bytes = Uint8Array.from([...assemble("(module)"), 0, 5, 3, 0x61, 0x0a, 0x62, 0xff]);
    expect(toWat(bytes)).toBe('(module\n  ;; custom section "a\\0ab", 5 bytes\n)\n');
  });
});
