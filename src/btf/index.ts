/** BTF: the types of BPF programs and of the kernel. */
export { Btf, type BtfOptions, parseBtf } from "./btf.ts";
export * from "./types.ts";
export { alignmentOf, findMember, POINTER_SIZE, resolve, sizeOf } from "./resolve.ts";
export {
  type BtfFieldTarget,
  type BtfSpecialField,
  containsTags,
  objectFields,
  specialFields,
} from "./special.ts";
export { declaration, typeName } from "./name.ts";
export { type BtfValue, decodeValue } from "./value.ts";
export { encodeValue } from "./encode.ts";
export * from "./ext.ts";
export * from "./core/index.ts";
export { formatC, type FormatCOptions } from "./print/c.ts";
export { formatRaw, type FormatRawOptions } from "./print/raw.ts";
export { SHOW_FLAGS, type ShowSource, showValue } from "./print/show.ts";
export { type BtfSource, encodeBtf, mapReferences, type EncodeBtfOptions, type EncodedBtf } from "./build.ts";
export { type Deduplicated, deduplicateTypes } from "./dedup.ts";
export { minimalBtf } from "./minimal.ts";
export { encodeBtfExt, stringsOfExt } from "./build-ext.ts";
