import { type Btf, type BtfValue, decodeValue, encodeValue, sizeOf, typeName } from "../btf/index.ts";
import type { Codec } from "./maps/definition.ts";

/** Conversion by a BTF type; undefined if the type's size is not the map's, so that bytes are shown as they are. */
export function codecOf(btf: Btf, type: number, size: number): Codec | undefined {
  if (sizeOf(btf, type) !== size) return undefined;
  return {
    typeName: typeName(btf, type),
    shared: { btf: btf.bytes, type },
    decode: (bytes) => decodeValue(btf, type, bytes),
    encode: (value) => encodeValue(btf, type, value as BtfValue),
  };
}
