import type { CoreRelocation, LineInfo } from "../btf/index.ts";
import {
  type ElfSection,
  type ElfSymbol,
  SYMBOL_BINDINGS,
  SYMBOL_VISIBILITIES,
  SYMBOL_TYPES,
} from "../elf/index.ts";
import { SLOT_SIZE, decodeInstructions } from "../isa/index.ts";
import { type Context, countWhile, sectionError } from "./context.ts";
import { place } from "./maps.ts";
import type { FunctionSpec, Reference } from "./spec.ts";

/** A function while its references are being collected. */
export interface FunctionDraft extends FunctionSpec {
  readonly sectionIndex: number;
  /** One past its last slot in the section. */
  readonly end: number;
  readonly references: Reference[];
}

/** The function without what only the parser needs. */
export function finishFunction(draft: FunctionDraft): FunctionSpec {
  const { sectionIndex: _section, end: _end, ...spec } = draft;
  Object.freeze(spec.references);
  return Object.freeze(spec);
}

/** All functions, and where they begin. */
export interface FunctionTable {
  readonly list: readonly FunctionDraft[];
  /** Index by `place(section, slot)`. */
  readonly starts: ReadonlyMap<string, number>;
}

type Code = Pick<
  FunctionDraft,
  "instructions" | "lines" | "coreRelocations" | "references" | "start" | "end"
>;

interface Range {
  readonly name: string;
  readonly start: number;
  end: number;
  readonly linkage: FunctionSpec["linkage"];
}

/**
 * The functions of all program sections, in the order of sections and offsets. A function is what a symbol says: STT_FUNC,
 * or from clang before 8 a global symbol without a type. A section without any such symbol is one function of the section's
 * name, so that stripped objects can still be looked at.
 */
export function collectFunctions(context: Context): FunctionTable {
  const { elf, ext, kinds, symbols } = context;
  const functions: FunctionDraft[] = [];
  const starts = new Map<string, number>();
  const described = new Set<string>();
  for (const section of elf.sections) {
    if (kinds[section.index] !== "program") continue;
    const bytes = elf.data(section);
    if (bytes.length % SLOT_SIZE !== 0) {
      throw sectionError(
        "object",
        section.name,
        `${bytes.length} bytes are no whole number of 8-byte instructions`,
      );
    }
    const code = decodeInstructions(bytes, { littleEndian: elf.littleEndian });
    // .BTF.ext tells sections by name; of several with the same name the first is meant, as libbpf looks it up.
    const records = described.has(section.name) ? undefined : ext;
    described.add(section.name);
    const lines = ascending(records?.lines.get(section.name) ?? []);
    const relocations = ascending(records?.relocations.get(section.name) ?? []);
    const types = new Map(records?.functions.get(section.name)?.map(({ slot, type }) => [slot, type]));
    // Two names for the same code share all but the name.
    let shared: Code | undefined;
    for (const { name, start, end, linkage } of rangesOf(
      section,
      code.length,
      symbols.get(section.index) ?? [],
    )) {
      if (shared?.start !== start || shared.end !== end) {
        shared = {
          start,
          end,
          instructions: Object.freeze(code.slice(start, end)),
          lines: rebase<LineInfo>(lines, start, end),
          coreRelocations: rebase<CoreRelocation>(relocations, start, end),
          references: [],
        };
      }
      const at = place(section.index, start);
      if (!starts.has(at)) starts.set(at, functions.length);
      functions.push({
        index: functions.length,
        name,
        section: section.name,
        sectionIndex: section.index,
        start,
        end,
        linkage,
        instructions: shared.instructions,
        references: shared.references,
        type: types.get(start),
        lines: shared.lines,
        coreRelocations: shared.coreRelocations,
      });
    }
  }
  return { list: functions, starts };
}

function rangesOf(section: ElfSection, slots: number, symbols: readonly ElfSymbol[]): Range[] {
  const typed = symbols.filter(({ type }) => type === SYMBOL_TYPES.func);
  const taken = new Set(typed.map(({ value }) => value));
  const untyped = symbols.filter(
    ({ type, binding, value }) =>
      type === SYMBOL_TYPES.notype && binding !== SYMBOL_BINDINGS.local && !taken.has(value),
  );
  const entries = [...typed, ...untyped].sort((a, b) => a.value - b.value || a.index - b.index);
  if (entries.length === 0) {
    return [{ name: section.name.replace(/^\?/, ""), start: 0, end: slots, linkage: "global" }];
  }
  const ranges: Range[] = [];
  for (const symbol of entries) {
    const fail = (why: string): Error =>
      sectionError("object", section.name, `function '${symbol.name}' ${why}`, { program: symbol.name });
    if (symbol.value % SLOT_SIZE !== 0 || symbol.size % SLOT_SIZE !== 0) {
      throw fail(`(offset ${symbol.value}, ${symbol.size} bytes) is not made of whole instructions`);
    }
    if (symbol.value + symbol.size > section.size || symbol.value >= section.size) {
      throw fail(
        `(offset ${symbol.value}, ${symbol.size} bytes) crosses the end of the section (${section.size} bytes)`,
      );
    }
    const start = symbol.value / SLOT_SIZE;
    // A symbol without a size reaches to the next one; the end is filled in below.
    ranges.push({
      name: symbol.name,
      start,
      end: start + symbol.size / SLOT_SIZE,
      linkage: linkageOf(symbol),
    });
  }
  let next = slots;
  for (let index = ranges.length - 1; index >= 0; index--) {
    const range = ranges[index] as Range;
    const after = ranges[index + 1];
    if (after !== undefined && after.start > range.start) next = after.start;
    if (range.end === range.start) range.end = after?.start === range.start ? after.end : next;
    // Two names for the same code are fine, but code that belongs to two functions in part has no meaning.
    const alias = after !== undefined && after.start === range.start && after.end === range.end;
    if (range.end > next || (after?.start === range.start && !alias)) {
      throw sectionError("object", section.name, `functions '${range.name}' and '${after?.name}' overlap`, {
        program: range.name,
      });
    }
  }
  return ranges;
}

function linkageOf({ binding, visibility }: ElfSymbol): FunctionSpec["linkage"] {
  if (binding === SYMBOL_BINDINGS.local) return "static";
  if (visibility === SYMBOL_VISIBILITIES.hidden || visibility === SYMBOL_VISIBILITIES.internal)
    return "hidden";
  return binding === SYMBOL_BINDINGS.weak ? "weak" : "global";
}

/** Compilers and linkers write records in the order of the code; somebody else may not. */
function ascending<T extends { readonly slot: number }>(records: readonly T[]): readonly T[] {
  for (let index = 1; index < records.length; index++) {
    if ((records[index] as T).slot < (records[index - 1] as T).slot) {
      return [...records].sort((a, b) => a.slot - b.slot);
    }
  }
  return records;
}

/** The records of the slots from `start` to `end`, counted from `start`. */
function rebase<T extends { readonly slot: number }>(
  records: readonly T[],
  start: number,
  end: number,
): readonly T[] {
  const own: T[] = [];
  for (let index = countWhile(records, ({ slot }) => slot < start); index < records.length; index++) {
    const record = records[index] as T;
    if (record.slot >= end) break;
    own.push(start === 0 ? record : { ...record, slot: record.slot - start });
  }
  return own;
}
