/** The log in the shape of Linux 7.3: its sections, and what stands in them. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { structuredLog } from "../../src/explain/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { objectProgram } from "../../src/verifier/index.ts";

function logOf(object: string, program: string): string {
  const path = `test/fixtures/rejected/${object}.bpf.o`;
  const input = objectProgram(parseObject(readFileSync(path), { name: path }), program);
  return (input === undefined ? undefined : structuredLog(input)) ?? "";
}

/** Object, program, category, what the causal path tells. */
test.each([
  ["packet-bounds", "variable_after_check", "Memory Safety", "update: R1 += R2"],
  [
    "null-check",
    "lookup_unchecked",
    "Register Type Safety",
    "update: R0 is the result of bpf_map_lookup_elem",
  ],
  ["leaked-reference", "early_return", "Resource Lifetime Safety", "acquired: the reference is taken here"],
  ["use-after-release", "read_after_release", "Resource Lifetime Safety", "invalidated: bpf_sk_release ends"],
  ["packet-bounds", "invalidated_by_helper", "Memory Safety", "invalidated: bpf_skb_pull_data ends"],
  ["call-not-allowed", "helper_of_others", "Policy", ""],
  ["type-mismatch", "number_as_key", "Call Type Safety", "update: R2 is loaded"],
  ["context-region", "call_under_lock", "Execution Context Safety", ""],
  ["too-complex", "endless", "Program Structure", ""],
] as const)("%s %s: %s", (object, program, category, told) => {
  const log = logOf(object, program);
  const sections = [...log.matchAll(/^([A-Z][\w ]+):$/gm)].map(([, name]) => name);
  expect(sections).toEqual(
    told === "" ? ["Reason", "At", "Suggestion"] : ["Reason", "At", "Causal path", "Suggestion"],
  );
  expect(log).toContain(`\nVerification failed: ${category}: `);
  expect(log).toMatch(/\n {2}\w+ @ .*:\d+:\d+\n {2}Source context:\n/);
  expect(log).toMatch(/\n {2}>>> +\d+ \| .*\n.* \| +\^-- error: /);
  expect(log).toMatch(/\n {2}Instruction context:\n/);
  expect(log.replaceAll(/\s+/g, " ")).toContain(told);
  // The complaint and the title are not broken.
  for (const line of log.split("\n").slice(3)) expect(line.length, line).toBeLessThanOrEqual(100);
});

test("without source lines the instruction is named", () => {
  const path = "test/fixtures/rejected/null-check.bpf.o";
  const input = objectProgram(parseObject(readFileSync(path), { name: path }), "lookup_unchecked");
  if (input === undefined) throw new Error(path);
  const log = structuredLog({ ...input, lines: [], functionInfo: [], btf: undefined });
  expect(log).toMatch(/\nAt:\n {2}insn \d+\n {7}\| \^-- error: /);
});
