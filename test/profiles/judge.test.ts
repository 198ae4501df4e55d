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

/** Program, the first release, what 5.15 lacks, and 6.6. */
test.each([
  ["padded_key", "6.3", ["verifier reading bytes of the stack that were never written"], []],
  [
    "constant_key",
    "6.14",
    ["verifier looking up a constant key of an array without a test for NULL"],
    ["verifier looking up a constant key of an array without a test for NULL"],
  ],
  [
    "number_pair",
    "6.8",
    ["verifier narrowing both numbers of a comparison"],
    ["verifier narrowing both numbers of a comparison"],
  ],
  ["constant_to_context", "6.4", ["verifier storing a constant into the context in one instruction"], []],
  ["allocated_map", "6.1", ["feature hash maps that are not preallocated in perf_event programs"], []],
  ["whose_packet", "6.4", ["helper get_current_cgroup_id in xdp programs"], []],
  [
    "twice",
    "6.8",
    ["verifier narrowing both numbers of a comparison"],
    ["verifier narrowing both numbers of a comparison"],
  ],
] as const)("old-verifiers %s: since %s", (program, since, in515, in66) => {
  const spec = load("old-verifiers");
  const profile = profileOf(spec, program, KERNELS);
  const lacks = (kernel: string) =>
    profile?.judgements
      .find((one) => one.kernel === kernel)
      ?.lacks.map(({ kind, name }) => `${kind} ${name}`);
  expect(profile?.since).toBe(since);
  expect(lacks("5.15")).toEqual(in515);
  expect(lacks("6.6")).toEqual(in66);
  expect(profile?.judgements.at(-1)?.verdict).toBe("accepted");
});

test("a verifier that lacks something says what the kernel's said, at its place", () => {
  const lacks = profileOf(load("old-verifiers"), "padded_key", ["6.1"])?.judgements[0]?.lacks;
  expect(lacks?.map(({ complaint, stable, place }) => [complaint, stable, place?.text?.trim()])).toEqual([
    [
      "invalid read from stack R2 off -8+6 size 8",
      "5.15.163",
      "return bpf_map_lookup_elem(&flows, &key) ? XDP_DROP : XDP_PASS;",
    ],
  ]);
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
