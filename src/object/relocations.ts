import {
  type ElfRelocation,
  type ElfSymbol,
  RELOCATION_TYPES,
  SPECIAL_SECTIONS,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  relocationName,
} from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { type Instruction, OPCODE_LDDW, SLOT_SIZE } from "../isa/index.ts";
import { type Context, countWhile, sectionVariables, sourceOf } from "./context.ts";
import type { FunctionDraft, FunctionTable } from "./functions.ts";
import { type MapTable, place } from "./maps.ts";
import type { ExternSpec, Reference } from "./spec.ts";

const OPCODE_CALL = 0x85;
/** BPF_PSEUDO_CALL: the source field of a call of a function of the program. */
export const PSEUDO_CALL = 1;
/** BPF_PSEUDO_KFUNC_CALL: of a function of the kernel. */
export const PSEUDO_KFUNC_CALL = 2;
/** BPF_PSEUDO_MAP_FD: the source field of an `lddw` of a map. */
export const PSEUDO_MAP_FD = 1;
/** BPF_PSEUDO_MAP_VALUE: of an address in a map's only value. */
export const PSEUDO_MAP_VALUE = 2;
/** BPF_PSEUDO_FUNC: of the address of a function of the program. */
export const PSEUDO_FUNC = 4;

/** What the relocations of the program sections refer to. */
export interface References {
  readonly externs: Map<string, ExternSpec>;
  /** Indices of the data sections that programs use. */
  readonly data: ReadonlySet<number>;
}

/** A reference to data, before the map of its section has a name. */
interface DataReference {
  readonly owner: FunctionDraft;
  readonly slot: number;
  readonly section: number;
  readonly offset: number;
}

/**
 * Finds out what the instructions refer to, and notes it in the functions.
 *
 * The assembler leaves the place open where it does not know the final address, and a relocation names a symbol to put
 * there; the bytes that are there already are added. In BPF, `lddw` takes maps, variables and functions, and `call` takes
 * functions:
 *
 * - `call` of a global function: its symbol, and imm is -1. Of a static function in another section: the section's
 *   symbol, and imm is the function's distance from the section's start in slots, less one. Of a static function in the
 *   same section: no relocation at all, imm is the distance from the call. The formula for all three is the one that
 *   libbpf uses, symbol / 8 + imm + 1.
 * - `lddw` of a function or variable: its symbol, or its section's symbol with the distance in bytes in imm.
 * - What another object or the kernel defines has a symbol in no section.
 *
 * Data sections become maps only if somebody uses them, so references to data are returned as section and offset and
 * are noted by {@link nameDataReferences} afterwards.
 */
export function collectReferences(
  context: Context,
  functions: FunctionTable,
  maps: MapTable,
): References & { readonly pending: readonly DataReference[] } {
  const externs = new Map<string, ExternSpec>();
  const pending: DataReference[] = [];
  const bySection = new Map<number, FunctionDraft[]>();
  for (const draft of functions.list) {
    const list = bySection.get(draft.sectionIndex);
    if (list === undefined) bySection.set(draft.sectionIndex, [draft]);
    else list.push(draft);
  }
  const declared = declaredExterns(context);
  for (const [index, drafts] of bySection) {
    const section = context.elf.sections[index];
    if (section === undefined) continue;
    const relocated = new Set<number>();
    for (const relocation of context.elf.relocations(section)) {
      const slot = relocation.offset / SLOT_SIZE;
      const last = drafts[countWhile(drafts, ({ start }) => start <= slot) - 1];
      // Of several names for the same code the first speaks for all.
      const owner = last && functions.list[functions.starts.get(place(index, last.start)) ?? -1];
      // Code between the functions belongs to none: a weak function that a linker has replaced.
      if (owner === undefined || slot >= owner.end) continue;
      const site: Site = {
        context,
        relocation,
        owner,
        slot: slot - owner.start,
        functions,
        maps,
        declared,
        externs,
      };
      if (!Number.isInteger(slot)) throw siteError(site, `byte ${relocation.offset} begins no instruction`);
      if (relocated.has(slot)) throw siteError(site, "has two relocations");
      relocated.add(slot);
      const reference = resolveReference(site, pending);
      if (reference !== undefined) owner.references.push(reference);
    }
    for (const [at, draft] of drafts.entries()) {
      // A further name of the same code.
      if (draft.references === drafts[at - 1]?.references) continue;
      collectLocalCalls(draft, relocated, functions);
      draft.references.sort((a, b) => a.slot - b.slot);
    }
  }
  return { externs, data: new Set(pending.map(({ section }) => section)), pending };
}

/** Notes the references to data, now that the sections have maps. */
export function nameDataReferences(
  pending: readonly DataReference[],
  names: ReadonlyMap<number, string>,
): void {
  const touched = new Set<FunctionDraft>();
  for (const { owner, slot, section, offset } of pending) {
    owner.references.push({ slot, kind: "map_value", map: names.get(section) as string, offset });
    touched.add(owner);
  }
  for (const { references } of touched) references.sort((a, b) => a.slot - b.slot);
}

/** A relocation and all that is needed to make sense of it. */
interface Site {
  readonly context: Context;
  readonly relocation: ElfRelocation;
  readonly owner: FunctionDraft;
  /** From the function's start. */
  readonly slot: number;
  readonly functions: FunctionTable;
  readonly maps: MapTable;
  readonly declared: ReadonlyMap<string, ExternSpec>;
  readonly externs: Map<string, ExternSpec>;
}

function siteError({ owner, slot, relocation }: Site, why: string): BpfError {
  const at = owner.start + slot;
  const source = sourceOf(owner.lines, slot);
  const symbol = relocation.symbol.name === "" ? "" : ` against '${relocation.symbol.name}'`;
  return new BpfError(
    "relocation",
    `section '${owner.section}': instruction ${at} (in '${owner.name}'): relocation${symbol}: ${why}`,
    {
      where: {
        section: owner.section,
        program: owner.name,
        instruction: at,
        ...(source === undefined ? {} : { source }),
      },
    },
  );
}

function resolveReference(site: Site, pending: DataReference[]): Reference | undefined {
  const { context, relocation, owner, slot } = site;
  const { symbol, type } = relocation;
  const instruction = owner.instructions[slot] as Instruction;
  const [none, wide, , , , call] = RELOCATION_TYPES;
  if (type === none.id) return undefined;
  const name = relocationName(type);
  if (name === undefined) throw siteError(site, `its type ${type} is not known`);
  const isCall = instruction.opcode === OPCODE_CALL;
  const isLoad = instruction.opcode === OPCODE_LDDW && slot + 1 < owner.instructions.length;
  if (!(isCall && type === call.id) && !(isLoad && type === wide.id)) {
    const opcode = `0x${instruction.opcode.toString(16).padStart(2, "0")}`;
    throw siteError(site, `${name} does not apply to an instruction with opcode ${opcode}`);
  }

  if (symbol.section === SPECIAL_SECTIONS.undef) return externReference(site);
  if (symbol.section === SPECIAL_SECTIONS.common) {
    throw siteError(site, "a variable without a section; initialise it, or compile with -fno-common");
  }
  const section = context.elf.sections[symbol.section];
  if (section === undefined)
    throw siteError(site, `its symbol lies in the special section 0x${symbol.section.toString(16)}`);
  const kind = context.kinds[section.index];
  const addend = relocation.addend ?? instruction.imm;

  if (kind === "program") {
    if (isCall && instruction.src !== PSEUDO_CALL)
      throw siteError(site, "the call is not marked as one of a function");
    const target = isCall
      ? symbol.value / SLOT_SIZE + (relocation.addend === undefined ? addend + 1 : addend / SLOT_SIZE)
      : (symbol.value + addend) / SLOT_SIZE;
    const found = site.functions.starts.get(place(section.index, target));
    if (found === undefined)
      throw siteError(site, `no function begins at slot ${target} of section '${section.name}'`);
    return { slot, kind: isCall ? "call" : "function", function: found };
  }
  if (isCall) throw siteError(site, `a call into section '${section.name}', which holds no program`);

  switch (kind) {
    case "maps":
    case "legacy_maps":
      return { slot, kind: "map", map: mapAt(site, section.name, addend) };
    case "data": {
      const offset = symbol.value + addend;
      if (offset < 0 || offset > section.size) {
        throw siteError(
          site,
          `byte ${offset} lies outside of section '${section.name}' (${section.size} bytes)`,
        );
      }
      pending.push({ owner, slot, section: section.index, offset });
      return undefined;
    }
    case "arena": {
      const arena = [...site.maps.specs.values()].find((map) => map.type === "arena");
      if (arena === undefined)
        throw siteError(
          site,
          `section '${section.name}' belongs to an arena, and there is no map of that type`,
        );
      return { slot, kind: "map_value", map: arena.name, offset: symbol.value + addend };
    }
    default:
      throw siteError(site, `section '${section.name}' holds neither programs nor maps nor variables`);
  }
}

function mapAt(site: Site, section: string, addend: number): string {
  const { symbol } = site.relocation;
  const name = site.maps.places.get(place(symbol.section, symbol.value));
  if (symbol.type === SYMBOL_TYPES.section || symbol.binding === SYMBOL_BINDINGS.local) {
    throw siteError(
      site,
      `a static map in section '${section}' (byte ${symbol.value + addend}); make its definition global`,
    );
  }
  if (name === undefined)
    throw siteError(site, `section '${section}' defines no map at byte ${symbol.value}`);
  if (addend !== 0)
    throw siteError(site, `byte ${addend} of the definition of map '${name}', which has no address`);
  return name;
}

function externReference(site: Site): Reference {
  const { symbol } = site.relocation;
  if (symbol.name === "" || symbol.binding === SYMBOL_BINDINGS.local) {
    throw siteError(site, `symbol ${symbol.index} is neither defined nor named`);
  }
  if (!site.externs.has(symbol.name)) {
    site.externs.set(symbol.name, externSpec(symbol, site.declared.get(symbol.name)));
  }
  return { slot: site.slot, kind: "extern", extern: symbol.name };
}

function externSpec({ name, binding }: ElfSymbol, declared: ExternSpec | undefined): ExternSpec {
  const weak = binding === SYMBOL_BINDINGS.weak;
  return Object.freeze({ name, kind: declared?.kind ?? "unknown", weak, type: declared?.type });
}

/** What the object's BTF declares in the sections `.kconfig` and `.ksyms`, which exist nowhere else. */
function declaredExterns(context: Context): Map<string, ExternSpec> {
  const found = new Map<string, ExternSpec>();
  for (const { name, variable } of sectionVariables(context, ".kconfig")?.variables ?? []) {
    found.set(name, { name, kind: "kconfig", weak: false, type: variable });
  }
  for (const { name, variable } of sectionVariables(context, ".ksyms")?.variables ?? []) {
    const kind = context.btf?.kind(variable) === "func" ? "kfunc" : "ksym";
    found.set(name, { name, kind, weak: false, type: variable });
  }
  return found;
}

/**
 * Calls and function addresses that need no relocation, because their distance is known. One that stays inside its own
 * function is left alone: the function moves as a whole.
 */
function collectLocalCalls(
  draft: FunctionDraft,
  relocated: ReadonlySet<number>,
  functions: FunctionTable,
): void {
  const { instructions, start, end, sectionIndex, section, name, references } = draft;
  for (let slot = 0; slot < instructions.length; slot++) {
    const { opcode, src, imm } = instructions[slot] as Instruction;
    const isCall = opcode === OPCODE_CALL && src === PSEUDO_CALL;
    const isAddress = opcode === OPCODE_LDDW && src === PSEUDO_FUNC;
    if ((isCall || isAddress) && !relocated.has(start + slot)) {
      const target = start + slot + imm + 1;
      const found = functions.starts.get(place(sectionIndex, target));
      if (found !== undefined) references.push({ slot, kind: isCall ? "call" : "function", function: found });
      else if (target < start || target >= end) {
        const source = sourceOf(draft.lines, slot);
        throw new BpfError(
          "relocation",
          `section '${section}': instruction ${start + slot} (in '${name}'): no function begins at slot ${target}`,
          {
            where: {
              section,
              program: name,
              instruction: start + slot,
              ...(source === undefined ? {} : { source }),
            },
          },
        );
      }
    }
    if (opcode === OPCODE_LDDW) slot++;
  }
}
