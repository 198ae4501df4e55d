/** Programs in whatever form they come: binary, and each of the texts. */
import { BpfError } from "../errors.ts";
import { assembleCbpf } from "./asm.ts";
import { type CbpfInstruction, type CbpfProgram } from "./instruction.ts";
import { parseCbpfC, parseCbpfListing, parseCbpfNumbers } from "./listing.ts";

/** Bytes of struct sock_filter. */
const SIZE = 8;

/** A program as an array of struct sock_filter; little-endian unless told. */
export function encodeCbpf(program: CbpfProgram, littleEndian = true): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(program.length * SIZE);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, index) => {
    view.setUint16(index * SIZE, code, littleEndian);
    view.setUint8(index * SIZE + 2, jt);
    view.setUint8(index * SIZE + 3, jf);
    view.setUint32(index * SIZE + 4, k, littleEndian);
  });
  return bytes;
}

/**
 * The program in an array of struct sock_filter, as `seccomp-tools` and libseccomp's `seccomp_export_bpf` write it.
 *
 * @throws BpfError code "program" if the length is no multiple of 8
 */
export function decodeCbpf(bytes: Uint8Array, littleEndian = true): CbpfInstruction[] {
  if (bytes.length % SIZE !== 0) {
    throw new BpfError(
      "program",
      `filter program: ${bytes.length} bytes are no whole number of instructions, of ${SIZE} each`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / SIZE }, (_, index) => ({
    code: view.getUint16(index * SIZE, littleEndian),
    jt: view.getUint8(index * SIZE + 2),
    jf: view.getUint8(index * SIZE + 3),
    k: view.getUint32(index * SIZE + 4, littleEndian),
  }));
}

/**
 * Reads a program from text in any of its forms: the listing of `tcpdump -d`, the C of `-dd`, the numbers of `-ddd`, or
 * bpf_asm's language. The first line that says something tells which.
 *
 * @throws BpfError code "asm" with `where.line`
 * @example
 * parseCbpf("(000) ret      #0"); // [{ code: 6, jt: 0, jf: 0, k: 0 }]
 */
export function parseCbpf(text: string): CbpfInstruction[] {
  const first = text.split("\n").find((line) => /\S/.test(line)) ?? "";
  if (/^\s*\(\d+\)/.test(first)) return parseCbpfListing(text);
  if (/^\s*\d+\s*(?:,|$)/.test(first)) return parseCbpfNumbers(text);
  if (/\{/.test(first) || /^\s*\{\s*0x/m.test(text)) return parseCbpfC(text);
  return assembleCbpf(text);
}
