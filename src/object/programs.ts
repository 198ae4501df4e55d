import { BpfError } from "../errors.ts";
import { type SectionMatch, matchSection } from "./sections.ts";
import type { FunctionSpec, ProgramSpec } from "./spec.ts";

/**
 * The entry points among the functions.
 *
 * Functions in `.text` are subprograms. Functions elsewhere are programs, with the type that the section's name says;
 * where it says none, a function that others call is a subprogram too (C code may put functions into any section), and
 * so is a static function that is called or that has no type. An object with nothing but `.text`, as hand-written
 * assembly makes, has as programs those of its global functions that nobody calls.
 */
export function collectPrograms(
  functions: readonly FunctionSpec[],
  { license, kernelVersion }: { readonly license: string; readonly kernelVersion: number },
): Map<string, ProgramSpec> {
  const called = new Set<number>();
  for (const { references } of functions) {
    for (const reference of references) {
      if (reference.kind === "call" || reference.kind === "function") called.add(reference.function);
    }
  }
  const programs = new Map<string, ProgramSpec>();
  const add = (own: FunctionSpec, match: SectionMatch | undefined): void => {
    const before = programs.get(own.name);
    if (before !== undefined) {
      throw new BpfError(
        "object",
        `program '${own.name}': is defined in '${before.section}' and in '${own.section}'`,
        {
          where: { program: own.name, section: own.section },
        },
      );
    }
    const { rule, target } = match ?? {};
    programs.set(
      own.name,
      Object.freeze({
        name: own.name,
        section: own.section.replace(/^\?/, ""),
        type: rule?.type,
        attachType: rule?.attach,
        attachTo: target,
        flags: Object.freeze({
          autoload: !own.section.startsWith("?"),
          sleepable: rule?.sleepable === true,
          frags: rule?.frags === true,
          attachBtf: rule?.btf === true,
        }),
        license,
        kernelVersion,
        function: own,
        instructions: own.instructions,
      }),
    );
  };
  for (const own of functions) {
    if (isText(own.section)) continue;
    const match = matchSection(own.section.replace(/^\?/, ""));
    const internal = called.has(own.index);
    if (match === undefined ? internal || own.linkage === "static" : internal && own.linkage === "static")
      continue;
    add(own, match);
  }
  if (programs.size === 0) {
    for (const own of functions) {
      if (isText(own.section) && own.linkage !== "static" && !called.has(own.index)) add(own, undefined);
    }
  }
  return programs;
}

function isText(section: string): boolean {
  return section === ".text" || section.startsWith(".text.");
}
