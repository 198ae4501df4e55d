import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listMapTypes, mapTypesMarkdown } from "../../src/machine/index.ts";
import { MAP_TYPES } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";
import { skep } from "../cli/run-cli.ts";

test("docs/map-types.md is what `skep maps --types --markdown` prints", () => {
  expect(readFileSync(join(ROOT, "docs/map-types.md"), "utf8")).toBe(mapTypesMarkdown());
});

test("each map type is there once, in the order of its ids", () => {
  const types = listMapTypes();
  const known = MAP_TYPES.filter(({ name }) => types.some((row) => row.name === name));
  expect(types.map(({ id }) => id)).toEqual(known.map(({ id }) => id));
  expect(types.length).toBe(33);
  expect(types.find(({ name }) => name === "lpm_trie")).toMatchObject({
    id: 11,
    needs: ["no_prealloc"],
    programs: ["lookup", "update", "delete"],
  });
  expect(types.find(({ name }) => name === "user_ringbuf")?.programs).toEqual(["user_ringbuf_drain"]);
  expect(types.find(({ name }) => name === "prog_array")?.programs).toEqual(["tail_call"]);
});

test("skep maps --types", async () => {
  const all = await skep("maps", "--types");
  expect(all.status).toBe(0);
  expect(all.stdout).toMatch(/^ +1 {2}hash {19}lookup, update, delete/m);
  const one = await skep("maps", "--types", "BPF_MAP_TYPE_ARENA");
  expect(one.stdout).toMatch(/flags mmapable segv_on_fault no_user_conv; must have mmapable/);
  const json = await skep("maps", "--types", "queue", "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({
    version: 1,
    types: [{ name: "queue", programs: ["push", "pop", "peek"] }],
  });
  expect((await skep("maps", "--types", "nosuch")).status).toBe(2);
  expect((await skep("maps")).status).toBe(2);
});
