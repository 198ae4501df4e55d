/** The version tables against the tables of `uapi/`, and against what is known of single rows. */
import { describe, expect, test } from "vitest";
import {
  ATTACH_TYPE_VERSIONS,
  FEATURES,
  HELPER_VERSIONS,
  KERNELS,
  KFUNC_VERSIONS,
  MAP_TYPE_VERSIONS,
  PROGRAM_TYPE_VERSIONS,
  type VersionRow,
  hasSince,
  kernelsOf,
  sinceOf,
} from "../../src/profiles/index.ts";
import { ATTACH_TYPES, HELPERS, KFUNCS, MAP_TYPES, PROGRAM_TYPES } from "../../src/uapi/index.ts";

const names = (rows: readonly VersionRow[]): string[] =>
  rows.flatMap((row) => row.names.split(" ")).toSorted();
const of = (rows: readonly { readonly name: string }[]): string[] =>
  [...new Set(rows.map(({ name }) => name))].toSorted();

/** Functions that the kernel has for its own tests. */
const FOR_TESTS = /^bpf_(kfunc_call|modify_return|testmod)_/;

describe("every name has one version", () => {
  test.each([
    ["program types", PROGRAM_TYPE_VERSIONS, PROGRAM_TYPES],
    ["map types", MAP_TYPE_VERSIONS, MAP_TYPES],
    ["attach types", ATTACH_TYPE_VERSIONS, ATTACH_TYPES],
    ["helpers", HELPER_VERSIONS, HELPERS],
  ] as const)("%s", (_name, versions, rows) => {
    expect(names(versions)).toEqual(of(rows));
    for (const { since, commit } of versions) {
      expect(commit).toMatch(/^[0-9a-f]{12}$/);
      // The tables are those of 6.18: nothing in them is newer.
      expect(hasSince("6.18", since), since).toBe(true);
    }
  });
});

test("kernel functions: those of uapi, and more that other configurations of Linux have", () => {
  const known = names(KFUNC_VERSIONS);
  expect(new Set(known).size).toBe(known.length);
  expect(of(KFUNCS).filter((name) => !FOR_TESTS.test(name) && !known.includes(name))).toEqual([]);
  for (const { since, commit, until } of KFUNC_VERSIONS) {
    expect(commit).toMatch(/^[0-9a-f]{12}$/);
    expect(hasSince("6.18", since), since).toBe(true);
    if (until !== undefined) expect(hasSince(until, since), until).toBe(true);
  }
});

test("helpers came in the order of their numbers", () => {
  let last = "3.18";
  for (const { name } of HELPERS) {
    const since = sinceOf("helper", name)?.since ?? "";
    expect(hasSince(since, last), `bpf_${name} ${since} after ${last}`).toBe(true);
    last = since;
  }
});

/** __BPF_FUNC_MAX_ID - 1 of include/uapi/linux/bpf.h of each release. */
test.each([
  ["5.15", 175],
  ["6.1", 209],
  ["6.6", 211],
  ["6.12", 211],
  ["6.18", 211],
])("%s has helpers up to number %i", (kernel, last) => {
  const had = HELPERS.filter(({ name }) => hasSince(kernel, sinceOf("helper", name)?.since ?? "99"));
  expect(had.at(-1)?.id).toBe(last);
  expect(had.length).toBe(last);
});

/** Single facts that release notes tell (kernelnewbies.org, the kernel's documentation). */
test.each([
  ["helper", "loop", "5.17"],
  ["helper", "for_each_map_elem", "5.13"],
  ["helper", "ringbuf_reserve", "5.8"],
  ["helper", "user_ringbuf_drain", "6.1"],
  ["helper", "cgrp_storage_get", "6.2"],
  ["kernel function", "bpf_iter_num_new", "6.4"],
  ["kernel function", "bpf_throw", "6.7"],
  ["kernel function", "bpf_rcu_read_lock", "6.2"],
  ["kernel function", "bpf_wq_init", "6.10"],
  ["kernel function", "bpf_arena_alloc_pages", "6.9"],
  ["map type", "arena", "6.9"],
  ["map type", "bloom_filter", "5.16"],
  ["program type", "netfilter", "6.4"],
  ["program type", "syscall", "5.14"],
  ["attach type", "tcx_ingress", "6.6"],
  ["attach type", "trace_kprobe_multi", "5.18"],
  ["map flag", "mmapable", "5.5"],
] as const)("%s %s: %s", (kind, name, since) => {
  expect(sinceOf(kind, name)?.since).toBe(since);
});

test("features have a release, a commit and a name of their own", () => {
  expect(new Set(FEATURES.map(({ id }) => id)).size).toBe(FEATURES.length);
  for (const { since, commit } of FEATURES) {
    expect(since).toMatch(/^\d\.\d+$/);
    expect(commit).toMatch(/^[0-9a-f]{12}$/);
  }
});

test("kernels are named by version", () => {
  expect(kernelsOf("all")).toEqual(KERNELS);
  expect(kernelsOf("5.15, 6.6")).toEqual(["5.15", "6.6"]);
  expect(kernelsOf("5.14")).toBeUndefined();
});
