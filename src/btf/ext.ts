import { BpfError } from "../errors.ts";
import { type Btf, readMagic } from "./btf.ts";

/** What a CO-RE relocation asks of the target (enum bpf_core_relo_kind, uapi/linux/bpf.h); the number is the index. */
export const CORE_KINDS = [
  "field_byte_offset",
  "field_byte_size",
  "field_exists",
  "field_signed",
  "field_lshift_u64",
  "field_rshift_u64",
  "type_id_local",
  "type_id_target",
  "type_exists",
  "type_size",
  "enumval_exists",
  "enumval_value",
  "type_matches",
] as const;

/** "field_byte_offset", ... */
export type CoreKind = (typeof CORE_KINDS)[number];

/** Where a function begins, and its type. */
export interface FunctionInfo {
  /** Index of the instruction slot: in a section as read here, in a function or program later. */
  readonly slot: number;
  /** Id of a func. */
  readonly type: number;
}

/** The source line that an instruction and those after it come from. */
export interface LineInfo {
  readonly slot: number;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The line itself, "" if the compiler did not keep it. */
  readonly text: string;
}

/** An instruction whose constant depends on the layout of a type on the machine that it will run on. */
export interface CoreRelocation {
  readonly slot: number;
  /** Id of the type whose member (or enumerator, or which itself) is meant. */
  readonly type: number;
  /** The path to the member, as indices: "0:1:2". */
  readonly access: string;
  readonly kind: CoreKind;
}

/** The contents of `.BTF.ext`, each record under the name of the section that its instruction is in. */
export interface BtfExt {
  readonly functions: ReadonlyMap<string, readonly FunctionInfo[]>;
  readonly lines: ReadonlyMap<string, readonly LineInfo[]>;
  readonly relocations: ReadonlyMap<string, readonly CoreRelocation[]>;
}

const SLOT = 8;

/**
 * Reads a `.BTF.ext` section: functions, source lines and CO-RE relocations. Records that are longer than those we
 * know are read as far as we know them.
 *
 * @throws BpfError code "btf" for damage, and for types and strings that the BTF does not have.
 * @example
 * const ext = parseBtfExt(elf.data(section), btf);
 * ext.lines.get("xdp")?.[0]; // { slot: 0, file: "firewall.bpf.c", line: 40, column: 6, text: "..." }
 */
export function parseBtfExt(bytes: Uint8Array, btf: Btf): BtfExt {
  const name = `${btf.name}.ext`;
  const littleEndian = readMagic(bytes, name, ".BTF.ext");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 24) throw new BpfError("btf", `${name}: cut off in its header (${bytes.length} bytes)`);
  if (bytes[2] !== 1) throw new BpfError("btf", `${name}: version ${bytes[2]} is not known, only 1`);
  const header = view.getUint32(4, littleEndian);
  if (header < 24 || header > bytes.length) {
    throw new BpfError("btf", `${name}: a header of ${header} bytes in ${bytes.length} bytes`);
  }
  const u32 = (at: number): number => view.getUint32(at, littleEndian);

  const table = <T>(
    what: string,
    at: number,
    least: number,
    read: (at: number, slot: number) => T,
  ): Map<string, T[]> => {
    const found = new Map<string, T[]>();
    // Compilers before clang 11 wrote no CO-RE part into the header.
    if (at + 8 > header) return found;
    let position = header + u32(at);
    const end = position + u32(at + 4);
    if (position === end) return found;
    const fail = (why: string): BpfError =>
      new BpfError("btf", `${name}: ${what}: ${why}`, { where: { offset: position } });
    if (end > bytes.length)
      throw fail(`bytes ${position} to ${end} lie outside of it (${bytes.length} bytes)`);
    if (position + 4 > end) throw fail("cut off");
    const size = u32(position);
    if (size < least || size % 4 !== 0) throw fail(`records of ${size} bytes, at least ${least} are needed`);
    position += 4;
    while (position < end) {
      if (position + 8 > end) throw fail("cut off");
      const section = btf.string(u32(position));
      const count = u32(position + 4);
      position += 8;
      if (position + count * size > end)
        throw fail(`${count} records for section '${section}' go beyond its end`);
      let records = found.get(section);
      if (records === undefined) found.set(section, (records = []));
      for (let index = 0; index < count; index++, position += size) {
        const offset = u32(position);
        if (offset % SLOT !== 0) throw fail(`section '${section}': byte ${offset} begins no instruction`);
        records.push(read(position, offset / SLOT));
      }
    }
    return found;
  };
  const typeId = (id: number): number => {
    if (id >= btf.count) throw new BpfError("btf", `${name}: refers to type ${id}, which does not exist`);
    return id;
  };

  return {
    functions: table("functions", 8, 8, (at, slot) => ({ slot, type: typeId(u32(at + 4)) })),
    lines: table("lines", 16, 16, (at, slot) => {
      const place = u32(at + 12);
      return {
        slot,
        file: btf.string(u32(at + 4)),
        // The line in the upper 22 bits, the column in the lower 10 (struct bpf_line_info, uapi/linux/bpf.h).
        line: place >>> 10,
        column: place & 0x3ff,
        text: btf.string(u32(at + 8)),
      };
    }),
    relocations: table("CO-RE relocations", 24, 16, (at, slot) => {
      const kind = CORE_KINDS[u32(at + 12)];
      if (kind === undefined) {
        throw new BpfError("btf", `${name}: CO-RE relocation of kind ${u32(at + 12)}, which is not known`);
      }
      return { slot, type: typeId(u32(at + 4)), access: btf.string(u32(at + 8)), kind };
    }),
  };
}
