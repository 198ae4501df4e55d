/**
 * Numbers of the ELF-64 object file format (System V ABI, "Object Files"), of `e_machine` BPF, and of its relocations
 * (LLVM, "BPF ELF relocations"; RFC 9669 leaves them to the ABI).
 */

/** e_type. */
export const FILE_TYPES = { none: 0, rel: 1, exec: 2, dyn: 3, core: 4 } as const;

/** e_machine of BPF; LLVM before 4.0 wrote 0. */
export const EM_BPF = 247;
export const EM_NONE = 0;

/** Names of machines that people hand over by mistake. */
export const MACHINES: Readonly<Record<number, string>> = {
  3: "i386",
  8: "MIPS",
  20: "PowerPC",
  21: "PowerPC64",
  22: "S/390",
  40: "ARM",
  62: "x86-64",
  183: "AArch64",
  243: "RISC-V",
  258: "LoongArch",
};

/** sh_type. */
export const SECTION_TYPES = {
  null: 0,
  progbits: 1,
  symtab: 2,
  strtab: 3,
  rela: 4,
  nobits: 8,
  rel: 9,
  symtabShndx: 18,
} as const;

/** sh_flags. */
export const SECTION_FLAGS = {
  write: 1,
  alloc: 2,
  execinstr: 4,
  merge: 0x10,
  strings: 0x20,
  infoLink: 0x40,
  compressed: 0x800,
} as const;

/** Section indices with a meaning of their own. */
export const SPECIAL_SECTIONS = {
  undef: 0,
  loreserve: 0xff00,
  abs: 0xfff1,
  common: 0xfff2,
  xindex: 0xffff,
} as const;

/** The low four bits of st_info. */
export const SYMBOL_TYPES = { notype: 0, object: 1, func: 2, section: 3, file: 4 } as const;

/** The high four bits of st_info. */
export const SYMBOL_BINDINGS = { local: 0, global: 1, weak: 2 } as const;

/** The low two bits of st_other. */
export const SYMBOL_VISIBILITIES = { default: 0, internal: 1, hidden: 2, protected: 3 } as const;

/** Relocation types of BPF. The addend stands in the bytes that are relocated (in `imm` of an instruction). */
export const RELOCATION_TYPES = [
  { id: 0, name: "R_BPF_NONE", text: "nothing" },
  { id: 1, name: "R_BPF_64_64", text: "the 64-bit constant of an lddw pair" },
  { id: 2, name: "R_BPF_64_ABS64", text: "8 bytes of data" },
  { id: 3, name: "R_BPF_64_ABS32", text: "4 bytes of data" },
  { id: 4, name: "R_BPF_64_NODYLD32", text: "4 bytes of .BTF or .BTF.ext, which no dynamic loader resolves" },
  { id: 10, name: "R_BPF_64_32", text: "the target of a call" },
] as const;

/** "R_BPF_64_64", or undefined for a number that BPF does not have. */
export type RelocationName = (typeof RELOCATION_TYPES)[number]["name"];

/** The name of a relocation type, or undefined if BPF has none of this number. */
export function relocationName(type: number): RelocationName | undefined {
  return RELOCATION_TYPES.find(({ id }) => id === type)?.name;
}

/** Sizes of the structures. */
export const SIZES_64 = { header: 64, section: 64, symbol: 24, rel: 16, rela: 24 } as const;
