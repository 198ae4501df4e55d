/** BTF as commands read it: from /sys/kernel/btf, from objects, on a base. */
import { type Btf, parseBtf } from "../btf/index.ts";
import { parseElf } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { readInput } from "./files.ts";

const KERNEL_FOLDER = "/sys/kernel/btf/";

/**
 * The types in a file: bare BTF or an object's. Kernel modules build on the kernel's types, if no other base is given.
 */
export async function openBtf(path: string, basePath?: string): Promise<Btf> {
  const module = path.startsWith(KERNEL_FOLDER) && path !== `${KERNEL_FOLDER}vmlinux`;
  const below = basePath ?? (module ? `${KERNEL_FOLDER}vmlinux` : undefined);
  const base = below === undefined ? undefined : await openBtf(below);
  const bytes = await readInput(path);
  return parseBtf(btfBytes(bytes, path), { name: path, ...(base === undefined ? {} : { base }) });
}

function btfBytes(bytes: Uint8Array, path: string): Uint8Array {
  const isElf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
  if (!isElf) return bytes;
  const elf = parseElf(bytes, { name: path });
  const section = elf.sections.find(({ name, size }) => name === ".BTF" && size > 0);
  if (section !== undefined) return elf.data(section);
  throw new BpfError("btf", `${path}: it has no .BTF section; compile with -g`, { where: { file: path } });
}
