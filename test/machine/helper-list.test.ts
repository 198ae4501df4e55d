import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { helpersMarkdown, listHelpers, listKfuncs } from "../../src/machine/index.ts";
import { ROOT } from "../helpers.ts";

test("docs/helpers.md is what `skep helpers --markdown` prints", () => {
  expect(readFileSync(join(ROOT, "docs/helpers.md"), "utf8")).toBe(helpersMarkdown());
});

test("the list has each helper once, with its prototype and program types", () => {
  const helpers = listHelpers();
  expect(helpers.length).toBe(211);
  expect(helpers.find(({ name }) => name === "fib_lookup")).toMatchObject({
    id: 69,
    status: "host",
    gplOnly: true,
    programTypes: ["sched_cls", "sched_act", "xdp"],
  });
  expect(helpers.find(({ name }) => name === "skb_load_bytes")?.status).toBe("core");
  expect(listKfuncs().find(({ name }) => name === "bpf_obj_drop_impl")).toMatchObject({
    status: "host",
    flags: ["release"],
  });
});
