/**
 * A program may describe a kernel structure several times, once for each shape that kernels have had, and tells its own
 * types apart by a suffix of three underscores: `task_struct___old`. What is left of it is the essential name, and only
 * that is compared with the target.
 */
export function essentialName(name: string): string {
  // The last "___" with something other than an underscore on either side; a longer run of underscores separates nothing.
  for (let at = name.length - 4; at >= 1; at--) {
    if (name[at] !== "_" || name[at + 1] !== "_" || name[at + 2] !== "_") continue;
    if (name[at - 1] !== "_" && name[at + 3] !== "_") return name.slice(0, at);
  }
  return name;
}

/** Whether two names mean the same thing. */
export function sameEssentialName(a: string, b: string): boolean {
  return a === b || essentialName(a) === essentialName(b);
}
