import { BTF_MAGIC } from "./btf.ts";
import { type BtfExt, CORE_KINDS } from "./ext.ts";

const HEADER = 32;
const SLOT = 8;

/** All strings that {@link encodeBtfExt} refers to; they belong into the BTF beside it. */
export function stringsOfExt({ functions, lines, relocations }: BtfExt): string[] {
  const found = new Set<string>([...functions.keys(), ...lines.keys(), ...relocations.keys()]);
  for (const list of lines.values()) {
    for (const { file, text } of list) found.add(file).add(text);
  }
  for (const list of relocations.values()) for (const { access } of list) found.add(access);
  return [...found];
}

/** Writes a `.BTF.ext` section; `offsetOf` says where the strings of its BTF are. */
export function encodeBtfExt(
  { functions, lines, relocations }: BtfExt,
  offsetOf: ReadonlyMap<string, number>,
  littleEndian = true,
): Uint8Array {
  const text = (string: string): number => offsetOf.get(string) ?? 0;
  const table = <T>(
    records: ReadonlyMap<string, readonly T[]>,
    size: number,
    words: (record: T) => readonly number[],
  ): number[] => {
    const body: number[] = [size];
    for (const [section, list] of records) {
      if (list.length === 0) continue;
      body.push(text(section), list.length);
      for (const record of list) body.push(...words(record));
    }
    return body.length === 1 ? [] : body;
  };
  const parts = [
    table(functions, 8, ({ slot, type }) => [slot * SLOT, type]),
    table(lines, 16, ({ slot, file, line, column, text: own }) => [
      slot * SLOT,
      text(file),
      text(own),
      (line << 10) | column,
    ]),
    table(relocations, 16, ({ slot, type, access, kind }) => [
      slot * SLOT,
      type,
      text(access),
      CORE_KINDS.indexOf(kind),
    ]),
  ];
  const length = parts.reduce((sum, part) => sum + part.length * 4, 0);
  const bytes = new Uint8Array(HEADER + length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, BTF_MAGIC, littleEndian);
  view.setUint8(2, 1);
  view.setUint32(4, HEADER, littleEndian);
  let at = 0;
  parts.forEach((part, index) => {
    view.setUint32(8 + 8 * index, at, littleEndian);
    view.setUint32(12 + 8 * index, part.length * 4, littleEndian);
    part.forEach((word, number) => view.setUint32(HEADER + at + 4 * number, word, littleEndian));
    at += part.length * 4;
  });
  return bytes;
}
