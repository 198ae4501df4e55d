/**
 * A section while text is read. Its contents are a list of chunks: instructions stay instructions until somebody wants
 * bytes, and data that follows data grows the last chunk, so that a long table costs no object for each number.
 */
import { type Instruction, SLOT_SIZE, decodeInstructions, encodeInstructions } from "../isa/index.ts";
import type { InstructionReference } from "./encode.ts";
import type { Value } from "./expression.ts";

/** ELF section flags (System V ABI, "Sections") that the directives can set. */
export const SECTION_FLAGS = { write: 1, alloc: 2, exec: 4, merge: 0x10, strings: 0x20 } as const;

/** The names that imply flags, as in LLVM: `.text.x` is code, `.rodata.x` is constant. */
const KNOWN_SECTIONS: readonly { readonly prefix: string; readonly flags: number }[] = [
  { prefix: ".text", flags: SECTION_FLAGS.alloc | SECTION_FLAGS.exec },
  { prefix: ".data", flags: SECTION_FLAGS.alloc | SECTION_FLAGS.write },
  { prefix: ".bss", flags: SECTION_FLAGS.alloc | SECTION_FLAGS.write },
  { prefix: ".rodata", flags: SECTION_FLAGS.alloc },
];

/** Bytes, with room to grow. */
interface Data {
  buffer: Uint8Array;
  used: number;
}

type Chunk = Instruction | Data;

/** A place that a symbol's address goes to. */
export interface Fixup {
  readonly chunk: number;
  /** Byte offset in the section. */
  readonly offset: number;
  /** Byte offset in the chunk. */
  readonly within: number;
  readonly kind: InstructionReference["kind"] | "data";
  /** Bytes, of data. */
  readonly size: number;
  readonly value: Value;
}

export interface SectionDraft {
  readonly name: string;
  flags: number;
  /** Occupies no space in a file, like .bss. */
  readonly nobits: boolean;
  align: number;
  /** Of sections of constants of one size (flag "M"). */
  entrySize: number;
  size: number;
  readonly chunks: Chunk[];
  readonly fixups: Fixup[];
  /** Relocations that were read from a listing. */
  readonly listed: { readonly offset: number; readonly type: string; readonly symbol: string }[];
  /** Debugging information: what stands in it is not kept, since the line table that it needs is not built. */
  readonly skipped: boolean;
}

export function newSection(name: string, flags?: number, nobits?: boolean): SectionDraft {
  const known = KNOWN_SECTIONS.find(({ prefix }) => name === prefix || name.startsWith(`${prefix}.`));
  return {
    name,
    flags: flags ?? known?.flags ?? 0,
    nobits: nobits ?? known?.prefix === ".bss",
    align: 1,
    entrySize: 0,
    size: 0,
    chunks: [],
    fixups: [],
    listed: [],
    skipped: name.startsWith(".debug_"),
  };
}

const isData = (chunk: Chunk | undefined): chunk is Data => chunk !== undefined && "buffer" in chunk;

/** Adds bytes at the end. */
export function appendBytes(section: SectionDraft, bytes: Uint8Array): void {
  let chunk = section.chunks.at(-1);
  if (!isData(chunk)) {
    chunk = { buffer: new Uint8Array(Math.max(bytes.length, 16)), used: 0 };
    section.chunks.push(chunk);
  }
  if (chunk.used + bytes.length > chunk.buffer.length) {
    const larger = new Uint8Array(Math.max(chunk.buffer.length * 2, chunk.used + bytes.length));
    larger.set(chunk.buffer.subarray(0, chunk.used));
    chunk.buffer = larger;
  }
  chunk.buffer.set(bytes, chunk.used);
  chunk.used += bytes.length;
}

/** Where the next thing goes: the chunk's index and the offset in it. */
export function nextPlace({ chunks }: SectionDraft, isForData: boolean): { chunk: number; within: number } {
  const last = chunks.at(-1);
  if (isForData && isData(last)) return { chunk: chunks.length - 1, within: last.used };
  return { chunk: chunks.length, within: 0 };
}

/** Changes bytes that are there. */
export function overwrite(section: SectionDraft, { chunk, within }: Fixup, bytes: Uint8Array): void {
  const data = section.chunks[chunk];
  if (isData(data)) data.buffer.set(bytes, within);
}

/** Changes fields of an instruction that is there. */
export function patch(
  section: SectionDraft,
  { chunk }: Pick<Fixup, "chunk">,
  fields: Partial<Instruction>,
): void {
  const instruction = section.chunks[chunk];
  if (instruction !== undefined && !isData(instruction))
    section.chunks[chunk] = { ...instruction, ...fields };
}

/** The contents as instructions; undefined if they are no whole number of slots. */
export function instructionsOf(
  section: SectionDraft,
  littleEndian: boolean,
): readonly Instruction[] | undefined {
  if (!section.chunks.some(isData)) return section.chunks as Instruction[];
  if (section.size % SLOT_SIZE !== 0) return undefined;
  return decodeInstructions(bytesOf(section, littleEndian), { littleEndian });
}

/** The contents as bytes; none of a section that occupies no space. */
export function bytesOf(section: SectionDraft, littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(section.nobits ? 0 : section.size);
  let at = 0;
  let run: Instruction[] = [];
  const flush = (): void => {
    bytes.set(encodeInstructions(run, { littleEndian }), at);
    at += run.length * SLOT_SIZE;
    run = [];
  };
  for (const chunk of section.chunks) {
    if (!isData(chunk)) {
      run.push(chunk);
      continue;
    }
    flush();
    bytes.set(chunk.buffer.subarray(0, chunk.used), at);
    at += chunk.used;
  }
  flush();
  return bytes;
}
