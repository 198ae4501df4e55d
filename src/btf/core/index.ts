/** CO-RE: what an access to a type of the program is on another machine. */
export { type Access, type Accessor, describeAccess, parseAccess } from "./access.ts";
export { essentialName } from "./names.ts";
export { type CoreResolution, CoreResolver } from "./resolve.ts";
export type { Candidate, CoreTarget } from "./target.ts";
export type { CoreValue } from "./value.ts";
