/**
 * A program that goes through a context: it loads every scalar at each width and place that the table allows, with sign extension too, stores
 * to everything that may be stored to, and looks at what the pointers in it lead to. What it finds goes into a map's only value.
 */
import { assemble } from "../../src/asm/index.ts";
import { type ContextField, type Hook, contextAccess } from "../../src/hooks/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import type { AttachType } from "../../src/uapi/index.ts";

/** Of the map. The last words are what the program stores and returns. */
export const VALUE_SIZE = 16_384;
export const SEED = VALUE_SIZE - 64;
export const SEED_BYTES = 64;

export interface FieldProgram {
  readonly text: string;
  readonly instructions: readonly Instruction[];
  /** Of the `lddw` that takes the map. */
  readonly slot: number;
  /** 1: the `lddw` takes the map, for a helper that looks the value up; 2: it takes the value. */
  readonly source: 1 | 2;
  /** What each word of the value is. */
  readonly words: readonly string[];
}

const WIDTHS = [1, 2, 4, 8] as const;
const UNSIGNED = { 1: "u8", 2: "u16", 4: "u32", 8: "u64" } as const;
const SIGNED = { 1: "s8", 2: "s16", 4: "s32" } as const;
type Width = (typeof WIDTHS)[number];

export interface FieldOptions {
  /** Fields that are left alone. */
  readonly without?: readonly string[];
  /** Of contexts without fields: up to where. Default: all of it. */
  readonly until?: number;
  /** What r0 is, instead of a random number. */
  readonly result?: number;
  /** Bits of r0 that may be set. Default 0xffffffff. */
  readonly mask?: number;
  /** The type may not call bpf_map_lookup_elem. */
  readonly direct?: boolean;
  /** Instructions before and after, with the context in r6, the map's value in r7; `save` keeps r1. */
  readonly more?: (save: (name: string, load: string) => void, line: (text: string) => void) => void;
}

interface Access {
  readonly offset: number;
  readonly size: Width;
  readonly field: ContextField | undefined;
}

/** What the table allows, of scalars. */
export function scalarAccesses(
  hook: Hook,
  attach: AttachType | undefined,
  write: boolean,
  { without = [], until = hook.context.size }: FieldOptions = {},
): Access[] {
  const found: Access[] = [];
  for (let offset = 0; offset < until; offset++) {
    for (const size of WIDTHS) {
      if (offset + size > until) continue;
      const access = contextAccess(hook, attach, { offset, size, write });
      if (access === undefined || access.kind !== "scalar") continue;
      if (access.field !== undefined && without.includes(access.field.name)) continue;
      found.push({ offset, size, field: access.field });
    }
  }
  return found;
}

const at = ({ context }: Hook, name: string): number =>
  context.fields.find((row) => row.name === name)?.offset ?? 0;

const register = (size: Width): string => (size === 8 ? "r1" : "w1");

export function fieldProgram(
  hook: Hook,
  attach: AttachType | undefined,
  options: FieldOptions = {},
): FieldProgram {
  const direct = options.direct === true;
  const lines = direct
    ? ["r6 = r1\nr7 = 0 ll"]
    : [
        "r6 = r1\nw1 = 0\n*(u32 *)(r10 - 4) = w1\nr2 = r10\nr2 += -4\nr1 = 0 ll\ncall 1",
        "if r0 == 0 goto done\nr7 = r0",
      ];
  const words: string[] = [];
  const save = (name: string, load: string): void => {
    lines.push(load, `*(u64 *)(r7 + ${8 * words.length}) = r1`);
    words.push(name);
  };
  const named = ({ offset, size, field }: Access, how: string): string =>
    `${field?.name ?? "context"} ${how}${size * 8} at ${offset}`;

  for (const access of scalarAccesses(hook, attach, false, options)) {
    const { offset, size } = access;
    save(named(access, "u"), `${register(size)} = *(${UNSIGNED[size]} *)(r6 + ${offset})`);
    if (size === 8 || contextAccess(hook, attach, { offset, size, write: false, signed: true }) === undefined)
      continue;
    save(named(access, "s"), `r1 = *(${SIGNED[size]} *)(r6 + ${offset})`);
  }
  scalarAccesses(hook, attach, true, options).forEach((access, index) => {
    const { offset, size, field } = access;
    lines.push(`r1 = *(u64 *)(r7 + ${SEED + 8 * (1 + (index % 7))})`);
    lines.push(`*(${UNSIGNED[size]} *)(r6 + ${offset}) = ${register(size)}`);
    const start =
      field === undefined
        ? offset
        : field.offset + Math.floor((offset - field.offset) / field.size) * field.size;
    const width = field?.size ?? size;
    if (contextAccess(hook, attach, { offset: start, size: width, write: false })?.kind !== "scalar") return;
    save(`${named(access, "u")} written`, `${register(width)} = *(${UNSIGNED[width]} *)(r6 + ${start})`);
  });
  if (
    hook.packetAccess !== undefined &&
    hook.context.fields.some(({ name, read }) => name === "data" && read !== undefined)
  ) {
    const load = (field: string, to: string): string => {
      const wide = hook.context.fields.find((row) => row.name === field)?.size === 8;
      return `${wide ? "r" : "w"}${to} = *(${wide ? "u64" : "u32"} *)(r6 + ${at(hook, field)})`;
    };
    lines.push(load("data", "2"), load("data_end", "3"));
    save("length", "r1 = r3\nr1 -= r2");
    lines.push("r4 = r2\nr4 += 8\nif r4 > r3 goto short");
    save("first bytes", "r1 = *(u64 *)(r2 + 0)");
    if (hook.packetAccess === "write") lines.push("w1 ^= 0x55\n*(u8 *)(r2 + 3) = w1");
    lines.push("short:");
  }
  options.more?.(save, (text) => lines.push(text));
  const mask = options.mask ?? 0xffffffff;
  const { result } = options;
  lines.push(
    result === undefined ? `r0 = *(u64 *)(r7 + ${SEED})\nw0 &= ${mask | 0}\nexit` : `w0 = ${result}\nexit`,
  );
  if (!direct) lines.push(`done:\nw0 = ${result ?? 0}\nexit`);
  const text = lines.join("\n");
  const { instructions } = assemble(text);
  const slot = instructions.findIndex(({ opcode }) => opcode === 0x18);
  return { text, instructions, slot, source: direct ? 2 : 1, words };
}

/** The words by their names. */
export function wordsOf({ words }: FieldProgram, value: Uint8Array | undefined): Record<string, bigint> {
  const view = new DataView((value as Uint8Array).slice().buffer);
  return Object.fromEntries(words.map((name, index) => [name, view.getBigUint64(8 * index, true)]));
}
