/** Which bytes of the kernel's structures sandboxed programs may write: the table of members, laid out for a type. */
import { type Btf, findMember, resolve, sizeOf } from "../../btf/index.ts";
import { WRITE_ENTRY, WRITE_OFFSET, WRITE_SIZE, WRITE_WHO } from "../../core/layout.ts";
import { KERNEL_WRITES, type KernelWriteRow, PROGRAM_TYPES } from "../../uapi/index.ts";
import type { LinearMemory } from "../memory.ts";

const INTERFACES: readonly string[] = [
  ...new Set(KERNEL_WRITES.flatMap((row) => (row.interface === undefined ? [] : [row.interface]))),
];
/** Program types are below. */
const FIRST_INTERFACE = 0x100;

/** The number under which a struct_ops program writes; 0 for interfaces that let nothing be written. */
export function writerNumber(interfaceName: string | undefined): number {
  const index = INTERFACES.indexOf(interfaceName ?? "");
  return index < 0 ? 0 : FIRST_INTERFACE + index;
}

function writersOf({ types = [], interface: name }: KernelWriteRow): number[] {
  const ids = types.map((type) => PROGRAM_TYPES.find((row) => row.name === type)?.id ?? 0);
  return name === undefined ? ids : [...ids, writerNumber(name)];
}

/** Deeper than sockets are in sockets. */
const MAX_DEPTH = 8;

/** The structure and those that it begins with: a tcp_sock is an inet_connection_sock is a sock. */
function beginnings(btf: Btf, id: number): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  let type = resolve(btf, id);
  for (let depth = 0; depth < MAX_DEPTH && type.kind === "struct"; depth++) {
    found.set(type.name, type.id);
    const [first] = type.members;
    if (first === undefined) break;
    type = resolve(btf, first.type);
  }
  return found;
}

interface Range {
  readonly offset: number;
  readonly size: number;
  readonly who: number;
}

function rangeOf(btf: Btf, struct: number, path: readonly string[]): Omit<Range, "who"> | undefined {
  let type = struct;
  let offset = 0;
  for (const name of path) {
    const member = findMember(btf, type, name);
    if (member === undefined || member.bitSize !== 0) return undefined;
    offset += member.bitOffset / 8;
    type = member.type;
  }
  return { offset, size: sizeOf(btf, type) };
}

function rangesOf(btf: Btf, id: number): Range[] {
  const structs = beginnings(btf, id);
  return KERNEL_WRITES.flatMap((row) => {
    const struct = structs.get(row.struct);
    const range = struct === undefined ? undefined : rangeOf(btf, struct, row.path);
    return range === undefined ? [] : writersOf(row).map((who) => ({ ...range, who }));
  });
}

const records = new WeakMap<LinearMemory, Map<Btf, Map<number, number>>>();

/** The record (WRITE_) of a type in a machine's memory; 0 if nothing of it may be written. */
export function writeRecord(memory: LinearMemory, btf: Btf, id: number): number {
  let known = records.get(memory);
  if (known === undefined) records.set(memory, (known = new Map()));
  let types = known.get(btf);
  if (types === undefined) known.set(btf, (types = new Map()));
  let record = types.get(id);
  if (record === undefined) {
    record = layOut(memory, rangesOf(btf, id));
    types.set(id, record);
  }
  return record;
}

function layOut(memory: LinearMemory, ranges: readonly Range[]): number {
  if (ranges.length === 0) return 0;
  const record = memory.alloc(4 + WRITE_ENTRY * ranges.length, "members that may be written");
  memory.setU32(record, ranges.length);
  ranges.forEach(({ offset, size, who }, index) => {
    const entry = record + 4 + WRITE_ENTRY * index;
    memory.setU32(entry + WRITE_OFFSET, offset);
    memory.setU32(entry + WRITE_SIZE, size);
    memory.setU32(entry + WRITE_WHO, who);
  });
  return record;
}
