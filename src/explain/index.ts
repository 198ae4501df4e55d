/** Why a program is rejected: classes, causes, where values came from. */
export { CLASSES, type RejectionClass, pageOf, titleOf } from "./classes.ts";
export { type Complaint, complaintOf } from "./classify.ts";
export {
  type Excerpt,
  type Explanation,
  type OriginStep,
  explain,
  explainPath,
  structuredLog,
} from "./explain.ts";
export { type FailingPath, type PathStep, failingPath } from "./path.ts";
export { textOf } from "./instructions.ts";
export { type ExcerptLine, type Place, placeOf, placeText } from "./place.ts";
