import { type Btf, type BtfType, alignmentOf, resolve, sizeOf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";

/** Values of a kernel configuration by name: `{ CONFIG_HZ: 250, CONFIG_BPF: "y", LINUX_KERNEL_VERSION: 0x61200 }`. */
export type KconfigValues = Readonly<Record<string, string | number | bigint | boolean>>;

/** What programs ask of the kernel itself, beside its configuration, as Linux 6.18 on x86-64 answers. */
export const LINUX_6_18: KconfigValues = {
  LINUX_KERNEL_VERSION: 0x61200,
  LINUX_HAS_BPF_COOKIE: "y",
  LINUX_HAS_SYSCALL_WRAPPER: "y",
};

/**
 * Reads the text of a kernel's configuration (`/boot/config-*`, `/proc/config.gz` unpacked): `CONFIG_X=y` lines. What programs
 * ask of the kernel itself is told from it as well: LINUX_KERNEL_VERSION from the title, LINUX_HAS_SYSCALL_WRAPPER and
 * LINUX_HAS_BPF_COOKIE (Linux 5.15).
 *
 * @example
 * parseKconfig("CONFIG_HZ=250\nCONFIG_BPF=y\n"); // { CONFIG_HZ: "250", CONFIG_BPF: "y" }
 */
export function parseKconfig(text: string): KconfigValues {
  const values: Record<string, string | number> = Object.create(null) as Record<string, string | number>;
  for (const line of text.split("\n")) {
    const equals = line.indexOf("=");
    if (line.startsWith("CONFIG_") && equals > 0)
      values[line.slice(0, equals)] = line.slice(equals + 1).trim();
  }
  const title = /^# Linux\/\S+ (\S+)/m.exec(text);
  if (title !== null) {
    Object.assign(values, releaseValues(title[1] as string));
    values["LINUX_HAS_SYSCALL_WRAPPER"] = values["CONFIG_ARCH_HAS_SYSCALL_WRAPPER"] === "y" ? "y" : "n";
  }
  return values;
}

/**
 * What a kernel's release ("6.18.44-generic") tells: LINUX_KERNEL_VERSION and LINUX_HAS_BPF_COOKIE (Linux 5.15). Nothing if it is no
 * release.
 */
export function releaseValues(release: string): KconfigValues {
  const parts = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release);
  if (parts === null) return {};
  const [major = 0, minor = 0, patch = 0] = parts.slice(1).map((part) => Number(part ?? 0));
  // KERNEL_VERSION of linux/version.h, where the last part has only 8 bits.
  const version = major * 65536 + minor * 256 + Math.min(patch, 255);
  return { LINUX_KERNEL_VERSION: version, LINUX_HAS_BPF_COOKIE: version >= 0x50f00 ? "y" : "n" };
}

/** A configuration value that a program reads, and where it lies in the map. */
export interface KconfigPlace {
  readonly name: string;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Places the values as libbpf does: by falling alignment, then by rising size, then by name. */
export function placeKconfig(
  btf: Btf,
  wanted: readonly {
    readonly name: string;
    readonly type: number;
    readonly value: KconfigValues[string] | undefined;
  }[],
): { readonly places: readonly KconfigPlace[]; readonly size: number } {
  const sized = wanted.map((row) => ({
    ...row,
    size: sizeOf(btf, row.type),
    alignment: alignmentOf(btf, row.type),
  }));
  sized.sort(
    (a, b) =>
      b.alignment - a.alignment || a.size - b.size || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  const places: KconfigPlace[] = [];
  let end = 0;
  for (const { name, type, value, size, alignment } of sized) {
    const offset = Math.ceil(end / alignment) * alignment;
    end = offset + size;
    if (end > MAX_SIZE)
      throw new BpfError("object", `section '.kconfig': '${name}' makes it larger than ${MAX_SIZE} bytes`);
    places.push({
      name,
      offset,
      bytes: value === undefined ? new Uint8Array(size) : encode(btf, name, type, value),
    });
  }
  return { places, size: end };
}

const MAX_SIZE = 1 << 20;

/** LIBBPF's `enum libbpf_tristate`. */
const TRISTATE: Readonly<Record<string, bigint>> = { n: 0n, y: 1n, m: 2n };

/**
 * A value as the bytes of the variable's type. `bool` takes y and n, `char` and `enum libbpf_tristate` take m too, integers take
 * numbers that fit, `char` arrays take strings, which are cut to the array.
 */
function encode(btf: Btf, name: string, id: number, given: KconfigValues[string]): Uint8Array {
  const type = resolve(btf, id);
  const size = sizeOf(btf, id);
  const bytes = new Uint8Array(size);
  const text = given === true ? "y" : given === false ? "n" : String(given);
  const fail = (wants: string): BpfError =>
    new BpfError(
      "relocation",
      `kernel configuration value '${name}': the program wants ${wants}, the value is ${text}`,
    );
  const put = (value: bigint): Uint8Array => {
    for (let index = 0; index < size; index++) {
      const at = btf.littleEndian ? index : size - 1 - index;
      bytes[at] = Number((value >> BigInt(8 * index)) & 255n);
    }
    return bytes;
  };
  switch (kindOf(btf, type)) {
    case "bool":
      if (text !== "y" && text !== "n") throw fail("y or n (bool)");
      return put(text === "y" ? 1n : 0n);
    case "tristate": {
      const value = TRISTATE[text];
      if (value === undefined) throw fail("y, n or m (tristate)");
      return put(value);
    }
    case "char":
      if (/^[ynm]$/.test(text)) return put(BigInt(text.charCodeAt(0)));
      return put(
        integer(text, size, type.kind === "int" && type.signed) ??
          never(fail("y, n, m or a number of 8 bits")),
      );
    case "integer": {
      const signed = type.kind === "int" && type.signed;
      return put(integer(text, size, signed) ?? never(fail(`a number of ${size * 8} bits`)));
    }
    case "string": {
      const quoted = /^"(.*)"$/s.exec(text);
      if (quoted === null && typeof given === "string" && /^[ynm]$|^-?\d+$|^0x/.test(text))
        throw fail("a string");
      const encoded = new TextEncoder().encode(quoted?.[1] ?? text);
      bytes.set(encoded.subarray(0, Math.max(0, size - 1)));
      return bytes;
    }
    default:
      throw new BpfError(
        "relocation",
        `kernel configuration value '${name}': its type is none that a configuration has`,
      );
  }
}

function never(error: BpfError): never {
  throw error;
}

function integer(text: string, size: number, signed: boolean): bigint | undefined {
  if (!/^(-?\d+|0x[0-9a-fA-F]+)$/.test(text)) return undefined;
  const value = BigInt(text);
  const bits = BigInt(8 * size);
  const [low, high] = signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
  return value >= low && value <= high ? value : undefined;
}

function kindOf(btf: Btf, type: BtfType): "bool" | "char" | "integer" | "tristate" | "string" | undefined {
  switch (type.kind) {
    case "int":
      if (type.bool) return "bool";
      if (type.size === 1) return "char";
      return [2, 4, 8].includes(type.size) ? "integer" : undefined;
    case "enum":
    case "enum64":
      return type.name === "libbpf_tristate" ? "tristate" : undefined;
    case "array": {
      const element = resolve(btf, type.type);
      return type.length > 0 && element.kind === "int" && element.size === 1 ? "string" : undefined;
    }
    default:
      return undefined;
  }
}
