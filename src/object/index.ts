/** BPF object files as data, and the linking of their programs. */
export { type ObjectOptions, parseObject } from "./parse.ts";
export {
  type LinkedFunction,
  type LinkedProgram,
  type LinkedReference,
  type LinkOptions,
  linkProgram,
} from "./link.ts";
export { relocate } from "./relocate.ts";
export { POISON_HELPER } from "./poison.ts";
export { KCONFIG_MAP, resolveExterns, type Surroundings } from "./externs.ts";
export { type KconfigValues, parseKconfig, releaseValues } from "./kconfig.ts";
export { type KernelStructOps, kernelStructOps, type StructOpsMember } from "./kernel-struct-ops.ts";
export { strictFindings } from "./strict.ts";
export { lineAt } from "./context.ts";
export { createdSizes, type MapSizes, withMapSizes } from "./sizes.ts";
export { BPF_F_LINK, BPF_F_RDONLY_PROG } from "./maps.ts";
export {
  type LaterAttachType,
  matchSection,
  SECTION_RULES,
  type SectionMatch,
  type SectionRule,
} from "./sections.ts";
export type * from "./spec.ts";
export { linkObjects, type ObjectInput } from "./static/index.ts";
export { generateSkeleton, type SkeletonOptions } from "./skeleton/index.ts";
