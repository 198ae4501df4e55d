/**
 * The lines of an objdump listing that are no assembly. The assembler reads them too, so that what a disassembler
 * prints can be fed back:
 *
 *     web.o:  file format elf64-bpf
 *
 *     Disassembly of section xdp:
 *
 *     0000000000000000 <main>:
 *     ; return helper(ctx);
 *            0:       85 10 00 00 ff ff ff ff call -0x1
 *                     0000000000000000:  R_BPF_64_32  helper
 *
 * A slot's number is indented with spaces and followed by a tab, as objdump has it; `1: r0 = 0` is a local label.
 */
export type ListingEvent =
  | { readonly kind: "slot"; readonly slot: number }
  | { readonly kind: "section"; readonly name: string }
  | { readonly kind: "symbol"; readonly offset: number; readonly name: string }
  | {
      readonly kind: "relocation";
      readonly offset: number;
      readonly type: string;
      readonly symbol: string;
      readonly addend: number;
    }
  | { readonly kind: "zeroes" }
  /** The name of the file, and relocations that stand in BTF. */
  | { readonly kind: "remark" };

const SLOT = /(?: +|(?=\d{8}))(\d{1,9}):\t(?:[0-9a-f]{2}(?: [0-9a-f]{2})*\t)?/y;
const SYMBOL = /^([0-9a-f]{16}) <(.+)>:\s*$/;
const SECTION = /^Disassembly of section (.+):\s*$/;
const RELOCATION = /^\t\t([0-9a-f]{16}): {2}(R_\w+)\t(.+?)(?:\+0x([0-9a-f]+))?\s*$/;
const CORE = /^\t\t[0-9a-f]{16}: {2}CO-RE /;
const FILE = /:\tfile format \S+\s*$/;

/**
 * Recognises a line of a listing between two positions of the text. Of a slot, `end` is where its instruction begins;
 * of other lines, the end of the line.
 */
export function readListingLine(
  text: string,
  start: number,
  end: number,
): { event: ListingEvent; end: number } | undefined {
  const code = text.charCodeAt(start);
  if (code === 32 || (code >= 48 && code <= 57)) {
    SLOT.lastIndex = start;
    const slot = SLOT.exec(text);
    if (slot !== null && SLOT.lastIndex <= end) {
      return { event: { kind: "slot", slot: Number(slot[1]) }, end: SLOT.lastIndex };
    }
  }
  const event = wholeLine(text, code, start, end);
  return event === undefined ? undefined : { event, end };
}

function wholeLine(text: string, code: number, start: number, end: number): ListingEvent | undefined {
  // Most lines are told apart by their first character or two; the patterns are for those that remain.
  if (code === 9) {
    if (text.charCodeAt(start + 1) !== 9) return undefined;
    const line = text.slice(start, end);
    if (line.trim() === "...") return { kind: "zeroes" };
    if (CORE.test(line)) return { kind: "remark" };
    const [, offset, type, symbol, addend] = RELOCATION.exec(line) ?? [];
    if (offset === undefined || type === undefined || symbol === undefined) return undefined;
    return {
      kind: "relocation",
      offset: Number.parseInt(offset, 16),
      type,
      symbol,
      addend: addend === undefined ? 0 : Number.parseInt(addend, 16),
    };
  }
  if ((code >= 48 && code <= 57) || (code >= 97 && code <= 102)) {
    const [, offset, name] = SYMBOL.exec(text.slice(start, end)) ?? [];
    if (offset !== undefined && name !== undefined) {
      return { kind: "symbol", offset: Number.parseInt(offset, 16), name };
    }
  }
  if (code === 68 && text.startsWith("Disassembly of section ", start)) {
    const name = SECTION.exec(text.slice(start, end))?.[1];
    if (name !== undefined) return { kind: "section", name };
  }
  return code !== 32 && FILE.test(text.slice(start, end)) ? { kind: "remark" } : undefined;
}
