/** BTF for maps that the kernel creates only with types: local storage, and values with a lock. */
import { type Handle, type Kernel, loadBtf } from "../../src/kernel/index.ts";
import { type BtfSource, buildBtf } from "../btf/build.ts";

const int = (name: string, size: number): BtfSource => ({
  kind: "int",
  name,
  size,
  bits: 8 * size,
  bitOffset: 0,
  signed: false,
  char: false,
  bool: false,
});

export interface MapTypes {
  readonly btf: Handle;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

/** A key of 4 bytes, a value of so many; with `lock` the value begins with a struct bpf_spin_lock. */
export function mapTypes(
  kernel: Kernel,
  valueSize: number,
  { lock = false }: { readonly lock?: boolean } = {},
): MapTypes {
  const member = (name: string, type: number, bitOffset: number) => ({ name, type, bitOffset, bitSize: 0 });
  const types: BtfSource[] = [
    int("u32", 4),
    int("u8", 1),
    { kind: "array", name: "", type: 2, indexType: 1, length: lock ? valueSize - 4 : valueSize },
    { kind: "struct", name: "bpf_spin_lock", size: 4, members: [member("val", 1, 0)] },
    {
      kind: "struct",
      name: "locked",
      size: valueSize,
      members: [member("lock", 4, 0), member("rest", 3, 32)],
    },
  ];
  const btf = loadBtf(kernel, buildBtf(types.slice(0, lock ? 5 : 3)));
  return { btf, keyTypeId: 1, valueTypeId: lock ? 5 : 3 };
}
