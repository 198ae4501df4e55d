/** A memory as data segments: what is zero is left out. */
import { ByteWriter } from "../jit/wasm.ts";

export interface Piece {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** Shorter gaps cost less as zero bytes than as another segment. */
const GAP = 16;
/** Engines take 100,000 data segments (WebAssembly JavaScript Interface, implementation limitations). */
const MOST_PIECES = 90_000;

/** What is not zero, in ascending order. */
export function piecesOf(memory: Uint8Array): Piece[] {
  for (let gap = GAP; ; gap *= 4) {
    const pieces = piecesApart(memory, gap);
    if (pieces.length <= MOST_PIECES) return pieces;
  }
}

function piecesApart(memory: Uint8Array, gap: number): Piece[] {
  const words = new Uint32Array(memory.buffer, memory.byteOffset, memory.length >>> 2);
  const pieces: Piece[] = [];
  const distance = gap >>> 2;
  let start = -1;
  let last = 0;
  const close = (): void => {
    if (start >= 0)
      pieces.push({ address: 4 * start, bytes: memory.subarray(4 * start, trimmed(memory, 4 * last + 4)) });
  };
  for (let at = 0; at < words.length; at++) {
    if (words[at] === 0) continue;
    if (start < 0 || at - last > distance) {
      close();
      start = at;
    }
    last = at;
  }
  close();
  return pieces;
}

function trimmed(memory: Uint8Array, end: number): number {
  let last = end;
  while (memory[last - 1] === 0) last--;
  return last;
}

export function dataSection(pieces: readonly Piece[]): ByteWriter {
  const writer = new ByteWriter(4096);
  writer.unsigned(pieces.length);
  for (const { address, bytes } of pieces) {
    // Active, in memory 0.
    writer.unsigned(0);
    writer.i32Const(address | 0);
    writer.op("end");
    writer.unsigned(bytes.length);
    writer.bytes(bytes);
  }
  return writer;
}
