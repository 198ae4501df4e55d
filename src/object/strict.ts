/**
 * What libbpf 1.x refuses although it loads here.
 *
 * skep reads what either libbpf or cilium/ebpf reads, and the latter is lenient: it takes static functions as programs, old
 * map definitions, any section whose name begins like a program type's. Who ships an object to be loaded by libbpf wants to
 * know before. The rules are those of libbpf.c when it opens an object (bpf_object__open) and chooses program types.
 */
import { matchSection } from "./sections.ts";
import type { MapSpec, ObjectSpec, ProgramSpec } from "./spec.ts";

/** LIBBPF_PIN_NONE and LIBBPF_PIN_BY_NAME. */
const PIN_VALUES: readonly number[] = [0, 1];

/**
 * Why libbpf 1.x would not load the object, in sentences that name the program or map first; empty if it would.
 *
 * @example
 * for (const finding of strictFindings(parseObject(bytes))) console.log(finding);
 * // map 'flows': is defined in section 'maps': libbpf reads BTF definitions in '.maps' only
 */
export function strictFindings(spec: ObjectSpec): readonly string[] {
  return [
    ...Object.values(spec.maps).flatMap((map) => mapFindings(spec, map)),
    ...functionFindings(spec),
    ...Object.values(spec.programs).flatMap(programFindings),
    ...Object.values(spec.externs).flatMap(({ name, kind }) =>
      kind === "unknown" ? [`'${name}': is declared and nowhere defined`] : [],
    ),
  ];
}

function mapFindings({ btf }: ObjectSpec, { name, section, pinning, iproute2 }: MapSpec): string[] {
  const findings: string[] = [];
  if (section === "maps" || iproute2 !== undefined) {
    findings.push(
      `map '${name}': is defined in section '${section}': libbpf reads BTF definitions in '.maps' only`,
    );
  }
  if (section !== ".maps") return findings;
  if (!PIN_VALUES.includes(pinning))
    findings.push(`map '${name}': pinning is ${pinning}: libbpf knows 0 and 1 (LIBBPF_PIN_BY_NAME)`);
  const variable = btf?.find(name, "var")[0];
  if (variable?.kind === "var" && variable.linkage === "static")
    findings.push(`map '${name}': is static: libbpf wants maps with external linkage`);
  return findings;
}

/** Every function outside `.text` is a program to libbpf, and programs have to be global. */
function functionFindings({ functions }: ObjectSpec): string[] {
  return functions.flatMap(({ name, section, linkage }) =>
    linkage === "static" && section !== ".text"
      ? [
          `function '${name}': is static and in section '${section}': libbpf takes static functions in '.text' only`,
        ]
      : [],
  );
}

function programFindings({ name, section, type }: ProgramSpec): string[] {
  if (type === undefined) return [`program '${name}': section '${section}' names no program type`];
  const match = matchSection(section);
  if (match === undefined || match.exact) return [];
  return [
    `program '${name}': section '${section}' only begins like '${match.rule.pattern}': libbpf wants the exact name`,
  ];
}
