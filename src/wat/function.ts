/** Functions as text: the header with its parameters and locals, and the body, block by block. */
import { type Instruction, readInstruction } from "./instruction.ts";
import type { Code, FunctionType } from "./module.ts";
import { Identifiers, IndexSpace, type NameMap, type Space } from "./names.ts";
import { malformed } from "./reader.ts";
import { type TextWriter, floatText } from "./text.ts";

/** What references are resolved with. */
export interface Scope {
  readonly types: readonly FunctionType[];
  readonly spaces: Readonly<Record<Space, IndexSpace>>;
}

/** A function to be printed. */
export interface FunctionText {
  /** Index among all functions, imported ones included. */
  readonly index: number;
  readonly type: number;
  readonly code: Code;
  readonly localNames: NameMap;
  readonly labelNames: NameMap;
}

/** Types of a function or block: ` (param i32 i64) (result i64)`. */
export function signature({ params, results }: FunctionType): string {
  const part = (word: string, types: readonly string[]): string =>
    types.length === 0 ? "" : ` (${word} ${types.join(" ")})`;
  return part("param", params) + part("result", results);
}

/** Immediates that need no labels and no locals, as they follow the name; constant expressions have no others. */
export function immediates({ operation, operands, value, types }: Instruction, { spaces }: Scope): string {
  const [first = 0, second = 0] = operands;
  // In the text the table comes first and may be left out if it is the first one.
  const table = (index: number): string => (index === 0 ? "" : ` ${spaces.table.of(index)}`);
  switch (operation.shape) {
    case "func":
      return ` ${spaces.func.of(first)}`;
    case "call_indirect":
      return `${table(second)} (type ${spaces.type.of(first)})`;
    case "types":
      return types.length === 0 ? " (result)" : ` (result ${types.join(" ")})`;
    case "global":
      return ` ${spaces.global.of(first)}`;
    case "table":
      return ` ${spaces.table.of(first)}`;
    case "access": {
      const offset = second === 0 ? "" : ` offset=${second}`;
      return first === operation.align ? offset : `${offset} align=${2 ** first}`;
    }
    case "i32":
    case "i64":
      return ` ${value}`;
    case "f32":
    case "f64":
      return ` ${floatText(operation.shape, value)}`;
    case "v128":
      return ` i32x4${[0n, 32n, 64n, 96n].map((shift) => ` ${hexWord(value >> shift)}`).join("")}`;
    case "reftype":
      return ` ${types.join(" ")}`;
    case "memory_init":
    case "data":
      return ` ${spaces.data.of(first)}`;
    case "elem":
      return ` ${spaces.elem.of(first)}`;
    case "table_init":
      return `${table(second)} ${spaces.elem.of(first)}`;
    case "table_copy":
      return first === 0 && second === 0 ? "" : ` ${spaces.table.of(first)} ${spaces.table.of(second)}`;
    case "local":
      return ` ${first}`;
    default:
      return "";
  }
}

function hexWord(value: bigint): string {
  return `0x${BigInt.asUintN(32, value).toString(16).padStart(8, "0")}`;
}

/** An open block, loop or if. */
interface Label {
  readonly text: string;
  /** Whether an `else` may come. */
  open: boolean;
}

function blockType({ operands, types }: Instruction, scope: Scope): string {
  const [index] = operands;
  if (index === undefined) return signature({ params: [], results: types });
  const type = scope.types[index];
  return ` (type ${scope.spaces.type.of(index)})${type === undefined ? "" : signature(type)}`;
}

/**
 * Prints a body. Labels are named after what they belong to and numbered through the function, so that no name means
 * two blocks; `end` and `else` repeat them, since the block's head may be far away.
 */
function printBody(
  writer: TextWriter,
  { code, labelNames }: FunctionText,
  locals: IndexSpace,
  scope: Scope,
): void {
  const { body } = code;
  const reader = body.fork();
  const identifiers = new Identifiers();
  const labels: Label[] = [];
  let blocks = 0;
  const target = (depth: number): string => {
    const label = labels[labels.length - 1 - depth];
    if (label !== undefined) return label.text;
    return depth === labels.length ? `${depth} (;function;)` : String(depth);
  };
  for (;;) {
    const instruction = readInstruction(reader);
    const { operation, operands, offset } = instruction;
    const { name, shape } = operation;
    switch (shape) {
      case "block": {
        const given = identifiers.make(labelNames.get(blocks), blocks);
        const text = given ?? identifiers.make(`${name}${blocks}`, blocks) ?? "";
        blocks++;
        writer.line(`${name} ${text}${blockType(instruction, scope)}`);
        labels.push({ text, open: name === "if" });
        writer.indent();
        break;
      }
      case "else": {
        const label = labels.at(-1);
        if (label?.open !== true) throw malformed("'else' without 'if'", offset);
        label.open = false;
        writer.outdent();
        writer.line(`else ${label.text}`);
        writer.indent();
        break;
      }
      case "end": {
        const label = labels.pop();
        if (label === undefined) {
          reader.finish("a function body");
          return;
        }
        writer.outdent();
        writer.line(`end ${label.text}`);
        break;
      }
      case "label":
      case "labels":
        writer.line(name);
        for (const depth of operands) writer.item(target(depth));
        break;
      case "local":
        writer.line(`${name} ${locals.of(operands[0] ?? 0)}`);
        break;
      default:
        writer.line(name + immediates(instruction, scope));
    }
  }
}

/** Parameters or locals: each named one in parentheses of its own, neighbours without name together. */
function printLocals(
  writer: TextWriter,
  word: "param" | "local",
  groups: Iterable<{ readonly count: number; readonly type: string }>,
  first: number,
  names: IndexSpace,
): void {
  let index = first;
  let open = false;
  const close = (): void => {
    if (open) writer.put(")");
    open = false;
  };
  for (const { count, type } of groups) {
    for (const end = index + count; index < end; index++) {
      if (names.has(index)) {
        close();
        writer.item(`(${word} ${names.of(index)} ${type})`);
      } else {
        writer.item(open ? type : `(${word} ${type}`);
        open = true;
      }
    }
  }
  close();
}

export function printFunction(writer: TextWriter, item: FunctionText, scope: Scope): void {
  const { index, code } = item;
  const type = scope.types[item.type];
  if (type === undefined) {
    throw malformed(
      `function ${index} has type ${item.type} of ${scope.types.length}, its body`,
      code.body.offset,
    );
  }
  const params = type.params.map((each) => ({ count: 1, type: each }));
  const count = code.locals.reduce((sum, group) => sum + group.count, params.length);
  const locals = new IndexSpace(count, item.localNames);
  writer.line(`(func ${scope.spaces.func.definition(index)} (type ${scope.spaces.type.of(item.type)})`);
  printLocals(writer, "param", params, 0, locals);
  if (type.results.length > 0) writer.item(signature({ params: [], results: type.results }).trimStart());
  writer.indent();
  if (code.locals.length > 0) {
    writer.line("");
    printLocals(writer, "local", code.locals, params.length, locals);
  }
  printBody(writer, item, locals, scope);
  writer.put(")");
  writer.outdent();
}
