/** LLVM's own tools, asked for the right answer, and as much of ELF as it takes to hand objects to the disassembler. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DisassembleOptions, ListingRelocation, ListingSymbol } from "../../src/asm/index.ts";
import { type Instruction, decodeInstructions, encodeInstructions } from "../../src/isa/index.ts";
import { hasTool } from "../helpers.ts";

export const hasLlvm: boolean = hasTool("llvm-objdump-19") && hasTool("llvm-mc-19");

/** Runs `work` with a directory that is gone afterwards. */
export function withScratch<T>(work: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), "skep-asm-"));
  try {
    return work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The object that llvm-mc makes of a text. */
export function llvmAssemble(text: string, { littleEndian = true, cpu = "v4" } = {}): Uint8Array {
  return withScratch((directory) => {
    writeFileSync(join(directory, "in.s"), text);
    const triple = littleEndian ? "bpfel" : "bpfeb";
    const args = [`-triple=${triple}`, `-mcpu=${cpu}`, "-filetype=obj", "in.s", "-o", "out.o"];
    execFileSync("llvm-mc-19", args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
    return readFileSync(join(directory, "out.o"));
  });
}

/** What llvm-objdump prints of an object, without the heading that names the file. */
export function objdump(object: Uint8Array, args: readonly string[] = []): string {
  return withScratch((directory) => {
    writeFileSync(join(directory, "in.o"), object);
    const output = execFileSync("llvm-objdump-19", ["-d", ...args, "in.o"], {
      cwd: directory,
      encoding: "utf8",
      maxBuffer: 1 << 29,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return output.replace(/^\nin\.o:\tfile format .*\n/, "");
  });
}

/** An object whose .text holds these slots, with the symbols that a text of labels defines. */
export function objectOf(slots: readonly Instruction[], { littleEndian = true } = {}): Uint8Array {
  const bytes = encodeInstructions(slots, { littleEndian });
  const view = new DataView(bytes.buffer);
  const quads = slots.map((_, index) => `.quad 0x${view.getBigUint64(index * 8, littleEndian).toString(16)}`);
  const text = `.text\n.globl main\n.type main,@function\nmain:\n${quads.join("\n")}\n`;
  return llvmAssemble(text, { littleEndian });
}

/** A section of code, in the words of the disassembler. */
export interface CodeSection extends DisassembleOptions {
  readonly section: string;
  readonly instructions: readonly Instruction[];
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  readonly symbols: readonly ListingSymbol[];
  readonly relocations: readonly ListingRelocation[];
}

interface Header {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly bytes: Uint8Array;
  readonly size: number;
  readonly link: number;
  readonly info: number;
}

const RELOCATION_TYPES: Readonly<Record<number, string>> = {
  1: "R_BPF_64_64",
  2: "R_BPF_64_ABS64",
  3: "R_BPF_64_ABS32",
  4: "R_BPF_64_NODYLD32",
  10: "R_BPF_64_32",
};

const cString = (bytes: Uint8Array, at: number): string =>
  new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)));

/** The headers of an ELF64 object, of either byte order. Objects are trusted here. */
export function readHeaders(object: Uint8Array): { headers: Header[]; littleEndian: boolean } {
  const view = new DataView(object.buffer, object.byteOffset, object.byteLength);
  const littleEndian = object[5] === 1;
  const table = Number(view.getBigUint64(0x28, littleEndian));
  const raw = Array.from({ length: view.getUint16(0x3c, littleEndian) }, (_, index) => {
    const at = table + index * 64;
    const offset = Number(view.getBigUint64(at + 24, littleEndian));
    const size = Number(view.getBigUint64(at + 32, littleEndian));
    const type = view.getUint32(at + 4, littleEndian);
    return {
      nameAt: view.getUint32(at, littleEndian),
      type,
      flags: Number(view.getBigUint64(at + 8, littleEndian)),
      bytes: type === 8 ? new Uint8Array() : object.subarray(offset, offset + size),
      size,
      link: view.getUint32(at + 40, littleEndian),
      info: view.getUint32(at + 44, littleEndian),
    };
  });
  const names = raw[view.getUint16(0x3e, littleEndian)]?.bytes ?? new Uint8Array();
  return { headers: raw.map((header) => ({ ...header, name: cString(names, header.nameAt) })), littleEndian };
}

interface RawSymbol {
  readonly name: string;
  readonly type: number;
  readonly binding: number;
  readonly section: number;
  readonly value: number;
  readonly size: number;
}

export function readSymbols(headers: readonly Header[], littleEndian: boolean): RawSymbol[] {
  const table = headers.find(({ type }) => type === 2);
  if (table === undefined) return [];
  const names = headers[table.link]?.bytes ?? new Uint8Array();
  const view = new DataView(table.bytes.buffer, table.bytes.byteOffset, table.bytes.byteLength);
  return Array.from({ length: table.bytes.length / 24 }, (_, index) => {
    const at = index * 24;
    return {
      name: cString(names, view.getUint32(at, littleEndian)),
      type: view.getUint8(at + 4) & 15,
      binding: view.getUint8(at + 4) >> 4,
      section: view.getUint16(at + 6, littleEndian),
      value: Number(view.getBigUint64(at + 8, littleEndian)),
      size: Number(view.getBigUint64(at + 16, littleEndian)),
    };
  });
}

export interface RawRelocation {
  readonly offset: number;
  readonly type: string;
  readonly symbol: RawSymbol;
  /** The symbol's name, or its section's. */
  readonly value: string;
}

export function readRelocations(
  headers: readonly Header[],
  index: number,
  symbols: readonly RawSymbol[],
  littleEndian: boolean,
): RawRelocation[] {
  return headers
    .filter(({ type, info }) => type === 9 && info === index)
    .flatMap(({ bytes }) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      return Array.from({ length: bytes.length / 16 }, (_, entry) => {
        const symbol = symbols[
          view.getUint32(entry * 16 + (littleEndian ? 12 : 8), littleEndian)
        ] as RawSymbol;
        const type = view.getUint32(entry * 16 + (littleEndian ? 8 : 12), littleEndian);
        return {
          offset: Number(view.getBigUint64(entry * 16, littleEndian)),
          type: RELOCATION_TYPES[type] ?? String(type),
          symbol,
          value: symbol.type === 3 ? (headers[symbol.section]?.name ?? "") : symbol.name,
        };
      });
    });
}

const SYMBOL_TYPES = ["notype", "object", "function"] as const;

/** The sections of an object that objdump disassembles. */
export function codeSections(object: Uint8Array): CodeSection[] {
  const { headers, littleEndian } = readHeaders(object);
  const symbols = readSymbols(headers, littleEndian);
  return headers.flatMap(({ name, flags, size, bytes }, index) => {
    if ((flags & 4) === 0 || size === 0) return [];
    const here = symbols.filter(
      ({ section, type, name: symbol }) => section === index && type < 3 && symbol !== "",
    );
    return {
      section: name,
      bytes,
      instructions: decodeInstructions(bytes, { littleEndian }),
      littleEndian,
      symbols: here.map(({ name: symbol, value, type }) => ({
        name: symbol,
        offset: value,
        type: SYMBOL_TYPES[type as 0 | 1 | 2],
      })),
      relocations: readRelocations(headers, index, symbols, littleEndian),
    };
  });
}
