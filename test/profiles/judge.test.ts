/** Programs on old kernels: what each lacks, and where. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseObject } from "../../src/object/index.ts";
import { KERNELS, profileOf } from "../../src/profiles/index.ts";

const load = (name: string) =>
  parseObject(readFileSync(`test/fixtures/${name}.bpf.o`), { name: `${name}.bpf.o` });

/** Object, program, the first release that has all, what 5.15 lacks. */
test.each([
  ["callbacks", "loop", "5.17", ["helper loop"]],
  ["map-types", "blooms", "5.16", ["map type bloom_filter"]],
  ["map-types", "other_cpus", "5.19", ["helper map_lookup_percpu_elem"]],
  ["map-types", "queues", "4.20", []],
  ["arena", "casts", "6.9", ["map type arena", "instruction cast_kern", "instruction cast_user"]],
  ["alu.v4", "alu32", "6.6", ["instruction movsx32to64"]],
  ["atomics", "fetch64", "5.12", []],
  ["rejected/packet-bounds", "no_check", "5.1", []],
] as const)("%s %s: since %s", (object, program, since, lacks) => {
  const spec = load(object);
  if (spec.programs[program] === undefined) throw new Error(Object.keys(spec.programs).join());
  const profile = profileOf(spec, program, KERNELS);
  expect(profile?.since).toBe(since);
  const oldest = profile?.judgements[0];
  expect(oldest?.lacks.map(({ kind, name }) => `${kind} ${name}`)).toEqual(lacks);
  if (lacks.length > 0) expect(oldest?.verdict).toBe("rejected");
});

test("a place names the line that needs it", () => {
  const profile = profileOf(load("callbacks"), "loop", ["5.15"]);
  const place = profile?.judgements[0]?.lacks[0]?.place;
  expect(place?.text).toContain("bpf_loop");
  expect(profile?.judgements[0]?.exact).toBe(false);
});

test("what 6.18's verifier rejects loads nowhere", () => {
  const profile = profileOf(load("rejected/packet-bounds"), "no_check", KERNELS);
  expect(profile?.judgements.map(({ verdict }) => verdict)).toEqual(KERNELS.map(() => "rejected"));
  expect(profile?.judgements.every(({ lacks }) => lacks.length === 0)).toBe(true);
});

test("kernel functions are needed, weak ones too unless the program asks for them first", () => {
  const spec = load("kfuncs");
  const needs = profileOf(spec, "numbers", ["5.15"])?.judgements[0]?.lacks.map(({ name }) => name);
  expect(needs).toContain("bpf_iter_num_new");
});
