/** Which kernel has what: versions of helpers, kernel functions, types, instructions and features; would a program load? */
export { EXACT_KERNEL, KERNELS, type KernelVersion, hasSince, kernelsOf } from "./kernels.ts";
export { FEATURES, type FeatureId, type FeatureRow } from "./features.ts";
export { ABILITIES } from "./abilities.ts";
export { HELPER_ACCESS_VERSIONS, KFUNC_ACCESS_VERSIONS, accessSince } from "./access.ts";
export {
  type ExactVerdict,
  type KernelJudgement,
  type ProgramProfile,
  profileOf,
} from "./judge.ts";
export { type Need, type NeedKind, type Since, needsOf, sinceOf } from "./needs.ts";
export {
  ATTACH_TYPE_VERSIONS,
  HELPER_VERSIONS,
  KFUNC_VERSIONS,
  MAP_FLAG_VERSIONS,
  MAP_TYPE_VERSIONS,
  PROGRAM_TYPE_VERSIONS,
  type VersionRow,
} from "./versions.ts";
