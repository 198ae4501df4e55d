import { type Instruction, decodeInstructions } from "../isa/index.ts";
import { MAP_TYPES, type MapType, PROGRAM_TYPES, type ProgramType } from "../uapi/index.ts";
import { Handle, type Kernel, refusal } from "./kernel.ts";
import {
  type FieldValue,
  type Fields,
  LITTLE_ENDIAN,
  type Layout,
  layoutOf,
  readName,
  readNumber,
  readWide,
  writeField,
} from "./struct.ts";
import { INFOS, type InfoKind, NAME_LENGTH } from "./tables.ts";

/** A map as the kernel describes it. */
export interface MapInfo {
  readonly id: number;
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly mapExtra: bigint;
  /** 0 for none. */
  readonly btfId: number;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

/** A program as the kernel describes it. */
export interface ProgramInfo {
  readonly id: number;
  readonly name: string;
  readonly type: ProgramType;
  /** 16 hex digits: a hash of the instructions. */
  readonly tag: string;
  readonly gplCompatible: boolean;
  readonly mapIds: readonly number[];
  readonly btfId: number;
  /** Instructions that the verifier went through. */
  readonly verifiedInstructions: number;
  /** Bytes of machine code, 0 when interpreted. */
  readonly jitedBytes: number;
  /** Bytes after the kernel's own rewriting. */
  readonly xlatedBytes: number;
  readonly runCount: bigint;
  readonly runTimeNs: bigint;
}

/** A BTF object as the kernel describes it. */
export interface BtfInfo {
  readonly id: number;
  readonly name: string;
  readonly size: number;
  /** Of the kernel or a module. */
  readonly kernelBtf: boolean;
}

const LAYOUTS: Readonly<Record<InfoKind, Layout>> = {
  program: layoutOf(INFOS.program.fields as Fields),
  map: layoutOf(INFOS.map.fields as Fields),
  btf: layoutOf(INFOS.btf.fields as Fields),
};

/** The layout of `struct bpf_prog_info` and its kin. */
export function infoLayout(kind: InfoKind): Layout {
  return LAYOUTS[kind];
}

interface Info {
  number(field: string): number;
  wide(field: string): bigint;
  name(field: string): string;
  bytes(field: string): Uint8Array;
}

/** OBJ_GET_INFO_BY_FD; `buffers` are the fields that ask for more. */
function readInfo(handle: Handle, kind: InfoKind, buffers: Readonly<Record<string, FieldValue>> = {}): Info {
  const layout = LAYOUTS[kind];
  const bytes = new Uint8Array(new ArrayBuffer(layout.size));
  const view = new DataView(bytes.buffer);
  const place = (field: string): Layout["fields"][string] => layout.fields[field] as Layout["fields"][string];
  for (const [field, value] of Object.entries(buffers)) {
    writeField(view, place(field), value, (buffer) => handle.kernel.address(buffer));
  }
  const { result } = handle.kernel.call("obj_get_info_by_fd", {
    bpf_fd: handle.fd,
    info_len: bytes.length,
    info: bytes,
  });
  if (result < 0) throw refusal(`${kind}: its description`, result);
  return {
    number: (field) => readNumber(view, place(field)),
    wide: (field) => readWide(view, place(field)),
    name: (field) => readName(view, place(field)),
    bytes: (field) => bytes.slice(place(field).offset, place(field).offset + place(field).size),
  };
}

export function mapInfo(handle: Handle): MapInfo {
  const info = readInfo(handle, "map");
  const type = MAP_TYPES.find(({ id }) => id === info.number("type"))?.name;
  if (type === undefined) throw refusal(`map: its type ${info.number("type")} is not known here`, -95);
  return {
    id: info.number("id"),
    name: info.name("name"),
    type,
    keySize: info.number("key_size"),
    valueSize: info.number("value_size"),
    maxEntries: info.number("max_entries"),
    flags: info.number("map_flags"),
    mapExtra: info.wide("map_extra"),
    btfId: info.number("btf_id"),
    keyTypeId: info.number("btf_key_type_id"),
    valueTypeId: info.number("btf_value_type_id"),
  };
}

export function programInfo(handle: Handle): ProgramInfo {
  const sizes = readInfo(handle, "program");
  const ids = new Uint8Array(4 * sizes.number("nr_map_ids"));
  const info = readInfo(handle, "program", { nr_map_ids: ids.length / 4, map_ids: ids });
  const type = PROGRAM_TYPES.find(({ id }) => id === info.number("type"))?.name;
  if (type === undefined) throw refusal(`program: its type ${info.number("type")} is not known here`, -95);
  return {
    id: info.number("id"),
    name: info.name("name"),
    type,
    tag: Buffer.from(info.bytes("tag")).toString("hex"),
    gplCompatible: (info.number("gpl_compatible") & 1) === 1,
    mapIds: [...new Uint32Array(ids.buffer)],
    btfId: info.number("btf_id"),
    verifiedInstructions: info.number("verified_insns"),
    jitedBytes: info.number("jited_prog_len"),
    xlatedBytes: info.number("xlated_prog_len"),
    runCount: info.wide("run_cnt"),
    runTimeNs: info.wide("run_time_ns"),
  };
}

/** The program as the verifier has rewritten it; empty without privilege to see it (kernel.kptr_restrict, CAP_PERFMON). */
export function xlatedInstructions(handle: Handle): Instruction[] {
  const length = readInfo(handle, "program").number("xlated_prog_len");
  const bytes = new Uint8Array(length);
  const info = readInfo(handle, "program", { xlated_prog_len: length, xlated_prog_insns: bytes });
  if (info.wide("xlated_prog_insns") === 0n) return [];
  return decodeInstructions(bytes.subarray(0, info.number("xlated_prog_len")), {
    littleEndian: LITTLE_ENDIAN,
  });
}

export function btfInfo(handle: Handle): BtfInfo {
  const name = new Uint8Array(new ArrayBuffer(256));
  const info = readInfo(handle, "btf", { name, name_len: name.length });
  const end = name.indexOf(0);
  return {
    id: info.number("id"),
    name: new TextDecoder().decode(name.subarray(0, end < 0 ? name.length : end)),
    size: info.number("btf_size"),
    kernelBtf: info.number("kernel_btf") !== 0,
  };
}

/** The bytes of a BTF object. */
export function btfBytes(handle: Handle): Uint8Array {
  const bytes = new Uint8Array(readInfo(handle, "btf").number("btf_size"));
  readInfo(handle, "btf", { btf: bytes, btf_size: bytes.length });
  return bytes;
}

const NEXT_ID = {
  program: "prog_get_next_id",
  map: "map_get_next_id",
  btf: "btf_get_next_id",
  link: "link_get_next_id",
} as const;

/**
 * The ids of all objects of a kind, whoever made them. It takes CAP_SYS_ADMIN.
 *
 * @example
 * objectIds(kernel, "program"); // [2, 3, 17]
 */
export function objectIds(kernel: Kernel, kind: keyof typeof NEXT_ID): number[] {
  const ids: number[] = [];
  for (let id = 0; ; ) {
    const reply = kernel.call(NEXT_ID[kind], { start_id: id });
    if (reply.result === -2) return ids;
    if (reply.result < 0) throw refusal(`${kind} ids`, reply.result);
    id = reply.read("next_id");
    ids.push(id);
  }
}

/** A name that the kernel takes: letters, digits, '_' and '.', 15 of them at most. */
export function objectName(name: string): string {
  return name.replace(/[^A-Za-z0-9_.]/g, "_").slice(0, NAME_LENGTH);
}
