import { type Btf, type BtfSection, CORE_KINDS, sizeOf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import { SLOT_SIZE } from "../isa/index.ts";
import type { LinkedProgram, ObjectSpec } from "../object/index.ts";
import type { InfoRecords } from "./program.ts";

/**
 * BTF as the kernel takes it. What a compiler writes into an object file is not that yet: sections have no size and
 * their variables no places, and declarations of what others define are no types of a program. The kernel checks all of
 * it (kernel/bpf/btf.c) and refuses the whole for one fault, so:
 *
 * - the section behind a map of variables gets the map's size, and its variables come in ascending order;
 * - every other section (`.maps`, `license`, `.ksyms`, `.kconfig`) becomes a union of integers. Nothing refers to it,
 *   and a union's members take as many bytes as a section's variables, so that all types keep their ids and places;
 * - an extern variable becomes a global integer, an extern function a name for void (a typedef has the same shape);
 * - a function that the object hides becomes static: it is then verified with its callers, as libbpf does it.
 *
 * New strings go behind the old ones, so that old offsets stay.
 */
export class PreparedBtf {
  readonly btf: Btf;
  readonly #types: Uint8Array;
  readonly #strings: Uint8Array;
  readonly #header: number;
  readonly #offsets: Map<string, number>;
  readonly #added: Uint8Array[] = [];
  #end: number;

  constructor(spec: ObjectSpec, btf: Btf) {
    this.btf = btf;
    const { bytes, littleEndian } = btf;
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const u32 = (at: number): number => header.getUint32(at, littleEndian);
    this.#header = u32(4);
    const typeStart = this.#header + u32(8);
    this.#types = bytes.slice(typeStart, typeStart + u32(12));
    const stringStart = this.#header + u32(16);
    this.#strings = bytes.subarray(stringStart, stringStart + u32(20));
    this.#end = this.#strings.length;
    this.#offsets = stringOffsets(this.#strings);
    const view = new DataView(this.#types.buffer);
    const at = (id: number): number => btf.offsetOf(id) - typeStart;
    this.#fix(spec, view, at);
  }

  /** The offset of a string, which is added if the object's BTF has it not. */
  offsetOf(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const bytes = new TextEncoder().encode(`${text}\0`);
    const offset = this.#end;
    this.#added.push(bytes);
    this.#end += bytes.length;
    this.#offsets.set(text, offset);
    return offset;
  }

  /** The whole, with the strings that have been asked for. */
  bytes(): Uint8Array {
    const { littleEndian } = this.btf;
    const header = 24;
    const bytes = new Uint8Array(header + this.#types.length + this.#end);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 0xeb9f, littleEndian);
    view.setUint8(2, 1);
    const sizes = [header, 0, this.#types.length, this.#types.length, this.#end];
    sizes.forEach((size, index) => view.setUint32(4 + 4 * index, size, littleEndian));
    bytes.set(this.#types, header);
    let at = header + this.#types.length;
    for (const part of [this.#strings, ...this.#added]) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  #fix(spec: ObjectSpec, view: DataView, at: (id: number) => number): void {
    const { btf } = this;
    const set = (offset: number, value: number): void => view.setUint32(offset, value, btf.littleEndian);
    const hidden = new Set(
      spec.functions.flatMap(({ name, type, linkage }) => {
        const hides = linkage === "static" || (linkage === "hidden" && spec.programs[name] === undefined);
        return hides && type !== undefined ? [type] : [];
      }),
    );
    const integer = firstInteger(btf);
    for (const type of btf.types(btf.firstId)) {
      const start = at(type.id);
      if (type.kind === "var" && type.linkage === "extern") {
        set(start + 8, integer);
        set(start + 12, LINKAGE_GLOBAL);
      } else if (type.kind === "func") {
        if (type.linkage === "extern") {
          set(start + 4, info(KIND_TYPEDEF, 0));
          set(start + 8, 0);
        } else if (hidden.has(type.id)) set(start + 4, info(KIND_FUNC, 0));
      } else if (type.kind === "datasec") {
        const map = Object.values(spec.maps).find(
          (row) => row.contents !== undefined && row.value === type.id,
        );
        if (map !== undefined) placeVariables(type, map.valueSize, start, set);
        else {
          set(start, 0);
          set(start + 4, info(KIND_UNION, type.variables.length));
          set(start + 8, sizeOf(btf, integer));
          type.variables.forEach((_, index) => {
            const member = start + 12 + 12 * index;
            set(member, 0);
            set(member + 4, integer);
            set(member + 8, 0);
          });
        }
      }
    }
  }
}

const KIND_UNION = 5;
const KIND_TYPEDEF = 8;
const KIND_FUNC = 12;
const LINKAGE_GLOBAL = 1;

/** The second word of a type. */
function info(kind: number, length: number): number {
  return (kind << 24) | length;
}

function firstInteger(btf: Btf): number {
  for (let id = btf.firstId; id < btf.count; id++) if (btf.kind(id) === "int") return id;
  throw new BpfError(
    "btf",
    `${btf.name}: it has no integer type, which the kernel's rules cannot be met without`,
  );
}

/** The kernel wants the variables in ascending order. */
function placeVariables(
  section: BtfSection,
  size: number,
  start: number,
  set: (offset: number, value: number) => void,
): void {
  set(start + 8, size);
  section.variables
    .toSorted((a, b) => a.offset - b.offset)
    .forEach((row, index) => {
      const at = start + 12 + 12 * index;
      set(at, row.type);
      set(at + 4, row.offset);
      set(at + 8, row.size);
    });
}

function stringOffsets(strings: Uint8Array): Map<string, number> {
  const offsets = new Map<string, number>();
  const decoder = new TextDecoder();
  for (let at = 0; at < strings.length; ) {
    const end = strings.indexOf(0, at);
    offsets.set(decoder.decode(strings.subarray(at, end)), at);
    at = end + 1;
  }
  return offsets;
}

/** What PROG_LOAD takes beside the instructions. */
export interface ProgramInfoRecords {
  readonly functionInfo?: InfoRecords;
  readonly lineInfo?: InfoRecords;
  readonly coreRelocations?: InfoRecords;
}

/**
 * The records of a linked program in the kernel's form. It wants a func record for each function or none at all, and
 * line records only with them, one at the start of each function and none in the second half of an `lddw`.
 */
export function infoRecords(linked: LinkedProgram, prepared: PreparedBtf): ProgramInfoRecords {
  const { functions, functionInfo, lines, coreRelocations, instructions } = linked;
  const { littleEndian } = prepared.btf;
  const pack = (records: readonly (readonly number[])[], words: number): InfoRecords => {
    const bytes = new Uint8Array(records.length * words * 4);
    const view = new DataView(bytes.buffer);
    records.flat().forEach((word, index) => view.setUint32(index * 4, word, littleEndian));
    return { recordSize: words * 4, bytes };
  };
  // The kernel applies these against its own types; they do not depend on function records.
  const core =
    coreRelocations.length === 0
      ? {}
      : {
          coreRelocations: pack(
            coreRelocations.map(({ slot, type, access, kind }) => [
              // Of all records only these count in bytes.
              slot * SLOT_SIZE,
              type,
              prepared.offsetOf(access),
              CORE_KINDS.indexOf(kind),
            ]),
            4,
          ),
        };
  const starts = new Set(functionInfo.map(({ slot }) => slot));
  if (functions.length === 0 || !functions.every(({ start }) => starts.has(start))) return core;
  const functionRecords = pack(
    functionInfo.map(({ slot, type }) => [slot, type]),
    2,
  );
  const usable = lines.filter(({ slot }, index) => {
    const isSecondHalf = instructions[slot]?.opcode === 0;
    return !isSecondHalf && slot !== lines[index - 1]?.slot;
  });
  const lineStarts = new Set(usable.map(({ slot }) => slot));
  if (!functions.every(({ start }) => lineStarts.has(start)))
    return { ...core, functionInfo: functionRecords };
  const lineRecords = pack(
    usable.map(({ slot, file, text, line, column }) => [
      slot,
      prepared.offsetOf(file),
      prepared.offsetOf(text),
      // struct bpf_line_info: the upper 22 bits are the line, the lower 10 the column.
      ((line << 10) | Math.min(column, 1023)) >>> 0,
    ]),
    4,
  );
  return { ...core, functionInfo: functionRecords, lineInfo: lineRecords };
}
