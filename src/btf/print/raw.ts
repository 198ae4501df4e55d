import type { Btf } from "../btf.ts";
import type { BtfType } from "../types.ts";

/** What {@link formatRaw} prints. */
export interface FormatRawOptions {
  /** Ids of types; default: all, without those of the base. */
  readonly ids?: readonly number[];
}

/**
 * One paragraph a type, in bpftool's words (`bpftool btf dump format raw`).
 *
 * @example
 * formatRaw(btf, { ids: [2] }); // "[2] PTR '(anon)' type_id=1\n"
 */
export function formatRaw(btf: Btf, { ids }: FormatRawOptions = {}): string {
  const parts: string[] = [];
  if (ids === undefined) for (const type of btf.types(btf.firstId)) parts.push(formatType(btf, type));
  else for (const id of ids) parts.push(formatType(btf, btf.type(id)));
  return parts.join("");
}

const quoted = (name: string): string => (name === "" ? "'(anon)'" : `'${name}'`);

function formatType(btf: Btf, type: BtfType): string {
  const head = `[${type.id}] ${type.kind.toUpperCase()} ${quoted(type.name)}`;
  const lines = <T>(items: readonly T[], line: (item: T) => string): string =>
    items.map((item) => `\n\t${line(item)}`).join("");
  switch (type.kind) {
    case "int": {
      const encoding = type.signed ? "SIGNED" : type.char ? "CHAR" : type.bool ? "BOOL" : "(none)";
      return `${head} size=${type.size} bits_offset=${type.bitOffset} nr_bits=${type.bits} encoding=${encoding}\n`;
    }
    case "ptr":
    case "typedef":
    case "volatile":
    case "const":
    case "restrict":
    case "type_tag":
      return `${head} type_id=${type.type}\n`;
    case "array":
      return `${head} type_id=${type.type} index_type_id=${type.indexType} nr_elems=${type.length}\n`;
    case "struct":
    case "union": {
      const members = lines(type.members, ({ name, type: id, bitOffset, bitSize }) => {
        const width = bitSize === 0 ? "" : ` bitfield_size=${bitSize}`;
        return `${quoted(name)} type_id=${id} bits_offset=${bitOffset}${width}`;
      });
      return `${head} size=${type.size} vlen=${type.members.length}${members}\n`;
    }
    case "enum":
    case "enum64": {
      const suffix = type.kind === "enum" ? "" : type.signed ? "LL" : "ULL";
      const values = lines(type.values, ({ name, value }) => `${quoted(name)} val=${value}${suffix}`);
      const encoding = type.signed ? "SIGNED" : "UNSIGNED";
      return `${head} encoding=${encoding} size=${type.size} vlen=${type.values.length}${values}\n`;
    }
    case "fwd":
      return `${head} fwd_kind=${type.union ? "union" : "struct"}\n`;
    case "func":
      return `${head} type_id=${type.type} linkage=${type.linkage}\n`;
    case "func_proto": {
      const parameters = lines(type.parameters, ({ name, type: id }) => `${quoted(name)} type_id=${id}`);
      return `${head} ret_type_id=${type.type} vlen=${type.parameters.length}${parameters}\n`;
    }
    case "var":
      return `${head} type_id=${type.type}, linkage=${type.linkage}\n`;
    case "datasec": {
      const variables = lines(type.variables, ({ type: id, offset, size }) => {
        const variable = btf.type(id);
        const name = `(${variable.kind.toUpperCase()} '${variable.name}')`;
        return `type_id=${id} offset=${offset} size=${size} ${name}`;
      });
      return `${head} size=${type.size} vlen=${type.variables.length}${variables}\n`;
    }
    case "float":
      return `${head} size=${type.size}\n`;
    case "decl_tag":
      return `${head} type_id=${type.type} component_idx=${type.component}\n`;
    case "void":
      return "[0] VOID\n";
  }
}
