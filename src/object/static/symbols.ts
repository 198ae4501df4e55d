import {
  type ElfFile,
  type ElfSymbol,
  SPECIAL_SECTIONS,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  type SymbolSource,
} from "../../elf/index.ts";
import { BpfError } from "../../errors.ts";
import { type MergedSection, type Placement, SINGLE_SECTIONS } from "./sections.ts";

/** A symbol that all objects share, and which object's definition counts. */
interface Global {
  readonly name: string;
  file: number;
  symbol: ElfSymbol;
  /** Undefined everywhere so far: weak only if every use is weak. */
  weak: boolean;
  hidden: boolean;
}

/** The symbols of the result. */
export interface MergedSymbols {
  readonly symbols: readonly SymbolSource[];
  /** By file, by symbol index: the number of the symbol in `symbols`. */
  readonly numbers: readonly ReadonlyMap<number, number>[];
  /** By name: which file defines it; undefined if none does. */
  readonly definitions: ReadonlyMap<string, number | undefined>;
}

/**
 * Resolves symbols between objects: a definition stands for all uses of its name, a strong one before weak ones, and of weak
 * ones the first. What no object defines stays open, for the kernel or a later link. Local symbols stay what they are.
 */
export function mergeSymbols(
  files: readonly ElfFile[],
  placements: readonly ReadonlyMap<number, Placement>[],
  merged: readonly MergedSection[],
): MergedSymbols {
  const index = new Map(merged.map((section, number) => [section, number]));
  const symbols: SymbolSource[] = merged.map((_, section) => ({
    name: "",
    section,
    type: SYMBOL_TYPES.section,
    binding: SYMBOL_BINDINGS.local,
  }));
  const globals = collectGlobals(files);
  const source = (symbol: ElfSymbol, placement: Placement | undefined): SymbolSource => ({
    name: symbol.name,
    ...(placement === undefined
      ? {}
      : { section: index.get(placement.merged) ?? 0, value: symbol.value + placement.offset }),
    size: symbol.size,
    type: symbol.type,
    binding: symbol.binding,
    visibility: symbol.visibility,
  });
  const globalNumbers = new Map<string, number>();
  for (const { name, file, symbol, weak, hidden } of globals.values()) {
    const placement = placements[file]?.get(symbol.section);
    const binding = isDefined(symbol) ? symbol.binding : weak ? SYMBOL_BINDINGS.weak : SYMBOL_BINDINGS.global;
    globalNumbers.set(name, symbols.length);
    symbols.push({ ...source(symbol, placement), binding, visibility: hidden ? 2 : 0 });
  }
  const numbers = files.map((elf, file) => {
    const own = new Map<number, number>();
    for (const symbol of elf.symbols) {
      const placement = placements[file]?.get(symbol.section);
      if (symbol.type === SYMBOL_TYPES.section) {
        if (placement !== undefined) own.set(symbol.index, index.get(placement.merged) ?? 0);
      } else if (symbol.binding !== SYMBOL_BINDINGS.local) {
        const number = globalNumbers.get(symbol.name);
        if (number !== undefined) own.set(symbol.index, number);
      } else if (placement !== undefined && symbol.type !== SYMBOL_TYPES.file) {
        own.set(symbol.index, symbols.length);
        symbols.push(source(symbol, placement));
      }
    }
    return own;
  });
  const definitions = new Map(
    [...globals.values()].map(({ name, file, symbol }) => [name, isDefined(symbol) ? file : undefined]),
  );
  return { symbols, numbers, definitions };
}

function isDefined({ section }: ElfSymbol): boolean {
  return section !== SPECIAL_SECTIONS.undef;
}

function collectGlobals(files: readonly ElfFile[]): Map<string, Global> {
  const globals = new Map<string, Global>();
  files.forEach((elf, file) => {
    for (const symbol of elf.symbols) {
      if (symbol.binding === SYMBOL_BINDINGS.local || symbol.name === "") continue;
      const weak = symbol.binding === SYMBOL_BINDINGS.weak;
      const hidden = symbol.visibility !== 0;
      const known = globals.get(symbol.name);
      if (known === undefined) {
        globals.set(symbol.name, { name: symbol.name, file, symbol, weak, hidden });
        continue;
      }
      known.hidden ||= hidden && isDefined(symbol);
      if (!isDefined(symbol)) {
        if (!isDefined(known.symbol)) known.weak &&= weak;
        continue;
      }
      const before = isDefined(known.symbol);
      // One copy of the license is kept, whatever its variable is called.
      if (before && SINGLE_SECTIONS.has(elf.sections[symbol.section]?.name ?? "")) continue;
      if (before && known.symbol.binding !== SYMBOL_BINDINGS.weak && !weak) {
        throw new BpfError(
          "object",
          `'${symbol.name}' is defined by ${files[known.file]?.name} and by ${elf.name}; make one of them static or weak`,
        );
      }
      if (!before || (known.symbol.binding === SYMBOL_BINDINGS.weak && !weak)) {
        known.file = file;
        known.symbol = symbol;
      }
    }
  });
  return globals;
}
