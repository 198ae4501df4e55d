import type { Btf, CoreRelocation, FunctionInfo, LineInfo } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import { type Instruction, OPCODE_LDDW } from "../isa/index.ts";
import { sourceOf } from "./context.ts";
import { howToResolve, writeAddress } from "./externs.ts";
import { POISON } from "./poison.ts";
import {
  PSEUDO_CALL,
  PSEUDO_FUNC,
  PSEUDO_KFUNC_CALL,
  PSEUDO_MAP_FD,
  PSEUDO_MAP_VALUE,
} from "./relocations.ts";
import type { ExternSpec, FunctionSpec, MapSpec, ObjectSpec, ProgramSpec, Reference } from "./spec.ts";

/** A program with all that it calls, ready for a verifier: one list of instructions. */
export interface LinkedProgram {
  readonly name: string;
  /** The entry point; undefined if a function was linked that is none. */
  readonly program: ProgramSpec | undefined;
  readonly object: ObjectSpec;
  /**
   * By slot: the entry function, then each function that it reaches. Calls and function addresses are final; maps and
   * variables have their source field set and wait for a machine or kernel to fill in what {@link references} says.
   */
  readonly instructions: readonly Instruction[];
  /** By slot of the `lddw` or `call`. */
  readonly references: ReadonlyMap<number, LinkedReference>;
  /** In the order of their code. */
  readonly functions: readonly LinkedFunction[];
  /** First slot of the function that bpf_throw calls (decl tag "exception_callback:NAME" of the program's function). */
  readonly exceptionCallback?: number;
  /** By ascending slot; {@link lineAt} finds the line of a slot. */
  readonly lines: readonly LineInfo[];
  /** By ascending slot; empty if the object has none. */
  readonly functionInfo: readonly FunctionInfo[];
  /** By ascending slot. Applied if {@link relocated}. */
  readonly coreRelocations: readonly CoreRelocation[];
  /** Whether {@link relocate} has fitted the instructions to a target. */
  readonly relocated: boolean;
  /** By slot: why an instruction must not be reached. */
  readonly poisoned: ReadonlyMap<number, string>;
  readonly btf: Btf | undefined;
}

/** Where a function's code lies in a linked program. */
export interface LinkedFunction {
  readonly name: string;
  /** Its first slot. */
  readonly start: number;
  /** One past its last slot. */
  readonly end: number;
  readonly spec: FunctionSpec;
}

/** What an instruction of a linked program waits for. */
export type LinkedReference =
  | { readonly kind: "map"; readonly map: MapSpec }
  /** The address of byte `offset` of the map's only value. */
  | { readonly kind: "map_value"; readonly map: MapSpec; readonly offset: number }
  | { readonly kind: "extern"; readonly extern: ExternSpec };

/** How {@link linkProgram} links. */
export interface LinkOptions {
  /**
   * What to do about names that the object does not define: `refuse` them (the default), or `keep` those that the kernel
   * defines as references of kind "extern" for the caller to resolve.
   */
  readonly externs?: "refuse" | "keep";
  /** Names that are kept although the others are refused: what the caller can resolve. */
  readonly provides?: (extern: ExternSpec) => boolean;
  /** Why an extern is not provided, for the message. */
  readonly why?: (extern: ExternSpec) => string | undefined;
}

/**
 * Puts a program together: its own code, and behind it every function that it calls or whose address it takes, each once,
 * in the order in which libbpf appends them: as the calls are met, and a function's own calls before the next one of its
 * caller. Line, function and CO-RE records move along.
 *
 * @throws BpfError code "usage" if there is no such program (the message lists those that there are), "relocation" if it
 *   uses a name that nothing defines, "unsupported" if it uses what only {@link resolveExterns} or a kernel can give.
 * @example
 * const linked = linkProgram(spec, "xdp_firewall");
 * linked.functions; // [{ name: "xdp_firewall", start: 0, end: 96 }, { name: "checksum", start: 96, end: 130 }]
 */
export function linkProgram(
  spec: ObjectSpec,
  name: string,
  { externs = "refuse", provides = () => false, why = () => undefined }: LinkOptions = {},
): LinkedProgram {
  const program = Object.hasOwn(spec.programs, name) ? spec.programs[name] : undefined;
  const entry = program?.function ?? spec.functions.find((row) => row.name === name);
  if (entry === undefined) throw unknownProgram(spec, name);

  const callback = exceptionCallback(spec, entry);
  const placed = placeFunctions(spec, entry, callback);
  const instructions: Instruction[] = [];
  const references = new Map<number, LinkedReference>();
  const poisoned = new Map<number, string>();
  const functions: LinkedFunction[] = [];
  const lines: LineInfo[] = [];
  const functionInfo: FunctionInfo[] = [];
  const coreRelocations: CoreRelocation[] = [];
  for (const [index, start] of placed) {
    const own = spec.functions[index] as FunctionSpec;
    for (const instruction of own.instructions) instructions.push(instruction);
    functions.push({ name: own.name, start, end: instructions.length, spec: own });
    for (const line of own.lines) lines.push({ ...line, slot: line.slot + start });
    for (const record of own.coreRelocations) coreRelocations.push({ ...record, slot: record.slot + start });
    if (own.type !== undefined) functionInfo.push({ slot: start, type: own.type });
    for (const reference of own.references) {
      applyReference(
        { spec, own, start, externs, provides, why, placed, instructions, references, poisoned },
        reference,
      );
    }
  }
  return {
    name,
    program,
    object: spec,
    instructions,
    references,
    functions,
    ...(callback === undefined ? {} : { exceptionCallback: placed.get(callback.index) as number }),
    lines,
    functionInfo,
    coreRelocations,
    relocated: false,
    poisoned,
    btf: spec.btf,
  };
}

function unknownProgram(spec: ObjectSpec, name: string): BpfError {
  const names = Object.keys(spec.programs);
  const known = names.length === 0 ? "it has none" : `it has ${names.join(", ")}`;
  return new BpfError("usage", `${spec.name}: no program '${name}'; ${known}`, {
    where: { file: spec.name, program: name },
  });
}

/** The start slot of every function that is reached, in the order of the code; the keys are function indices. */
function placeFunctions(
  spec: ObjectSpec,
  entry: FunctionSpec,
  callback: FunctionSpec | undefined,
): Map<number, number> {
  const placed = new Map<number, number>([[entry.index, 0]]);
  let length = entry.instructions.length;
  // A stack of our own: chains of calls in a hostile file may be longer than JavaScript's stack.
  const open = [{ references: calls(entry), next: 0 }];
  // No instruction names it, and libbpf appends it last.
  if (callback !== undefined) open.unshift({ references: [callback.index], next: 0 });
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const target = top.references[top.next++];
    if (target === undefined) open.pop();
    else if (!placed.has(target)) {
      const callee = spec.functions[target] as FunctionSpec;
      placed.set(target, length);
      length += callee.instructions.length;
      open.push({ references: calls(callee), next: 0 });
    }
  }
  return placed;
}

const CALLBACK_TAG = "exception_callback:";

/** The function that a program's tag names; only what can throw is looked at. */
function exceptionCallback(
  { btf, functions, externs }: ObjectSpec,
  entry: FunctionSpec,
): FunctionSpec | undefined {
  if (btf === undefined || !Object.hasOwn(externs, "bpf_throw")) return undefined;
  for (const tag of btf.types()) {
    if (tag.kind !== "decl_tag" || tag.component !== -1 || !tag.name.startsWith(CALLBACK_TAG)) continue;
    const tagged = btf.type(tag.type);
    if (tagged.kind !== "func" || tagged.name !== entry.name) continue;
    const name = tag.name.slice(CALLBACK_TAG.length);
    return functions.find((row) => row.name === name);
  }
  return undefined;
}

function calls({ references }: FunctionSpec): number[] {
  const targets: number[] = [];
  for (const reference of references) {
    if (reference.kind === "call" || reference.kind === "function") targets.push(reference.function);
  }
  return targets;
}

interface Site {
  readonly spec: ObjectSpec;
  readonly own: FunctionSpec;
  readonly start: number;
  readonly externs: "refuse" | "keep";
  readonly provides: (extern: ExternSpec) => boolean;
  readonly why: (extern: ExternSpec) => string | undefined;
  readonly placed: ReadonlyMap<number, number>;
  readonly instructions: Instruction[];
  readonly references: Map<number, LinkedReference>;
  readonly poisoned: Map<number, string>;
}

function applyReference(site: Site, reference: Reference): void {
  const { spec, start, placed, instructions, references } = site;
  const slot = start + reference.slot;
  const instruction = instructions[slot] as Instruction;
  switch (reference.kind) {
    case "call": {
      const distance = (placed.get(reference.function) as number) - slot - 1;
      instructions[slot] = { ...instruction, src: PSEUDO_CALL, imm: distance };
      return;
    }
    case "function": {
      const distance = (placed.get(reference.function) as number) - slot - 1;
      patchWide(instructions, slot, PSEUDO_FUNC, distance, 0);
      return;
    }
    case "map":
      patchWide(instructions, slot, PSEUDO_MAP_FD, 0, 0);
      references.set(slot, { kind: "map", map: spec.maps[reference.map] as MapSpec });
      return;
    case "map_value":
      patchWide(instructions, slot, PSEUDO_MAP_VALUE, 0, reference.offset);
      references.set(slot, {
        kind: "map_value",
        map: spec.maps[reference.map] as MapSpec,
        offset: reference.offset,
      });
      return;
    case "extern": {
      const extern = spec.externs[reference.extern] as ExternSpec;
      const refused = site.externs === "refuse" && !site.provides(extern);
      if (refused && extern.kind === "kfunc" && extern.weak) {
        return missingFunction(site, slot, extern);
      }
      if (extern.kind === "unknown" || refused) throw externError(site, reference.slot, extern);
      if (extern.kind === "kfunc" && instruction.src === PSEUDO_CALL) {
        instructions[slot] = { ...instruction, src: PSEUDO_KFUNC_CALL, imm: 0 };
      }
      references.set(slot, { kind: "extern", extern });
      return;
    }
  }
}

/** A weak function of the kernel that is missing: its address is 0, and a call of it must not be reached. */
function missingFunction({ instructions, poisoned }: Site, slot: number, { name }: ExternSpec): void {
  if ((instructions[slot] as Instruction).opcode === OPCODE_LDDW) return writeAddress(instructions, slot, 0n);
  instructions[slot] = POISON;
  poisoned.set(slot, `kernel function '${name}': missing here`);
}

function patchWide(instructions: Instruction[], slot: number, src: number, low: number, high: number): void {
  instructions[slot] = { ...(instructions[slot] as Instruction), src, imm: low };
  instructions[slot + 1] = { ...(instructions[slot + 1] as Instruction), imm: high };
}

function externError({ own, spec, why }: Site, slot: number, extern: ExternSpec): BpfError {
  const at = own.start + slot;
  const source = sourceOf(own.lines, slot);
  const place = `section '${own.section}': instruction ${at} (in '${own.name}')`;
  const where = {
    file: spec.name,
    section: own.section,
    program: own.name,
    instruction: at,
    ...(source === undefined ? {} : { source }),
  };
  const code = extern.kind === "unknown" ? "relocation" : "unsupported";
  return new BpfError(code, `${place}: uses ${howToResolve(spec, extern, why(extern))}`, {
    where,
  });
}
