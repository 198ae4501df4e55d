/** What explanations suggest makes programs load: `mended.bpf.c` has rejected programs with their suggestion written in. */
import { readFileSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KernelMachine } from "../../src/kernel/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { verifyObject } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

const spec = parseObject(readFileSync("test/fixtures/mended.bpf.o"), { name: "mended.bpf.o" });
const NAMES = Object.keys(spec.programs);

test("each is a rejected program with the same name", () => {
  const folder = "test/fixtures/rejected";
  const rejected = readdirSync(folder)
    .filter((name) => name.endsWith(".bpf.c"))
    .map((name) => readFileSync(`${folder}/${name}`, "utf8"))
    .join("\n");
  for (const name of NAMES) expect(rejected, name).toContain(`REJECT ${name}:`);
});

test.each(NAMES)("%s", (name) => {
  const { verdict, reason } = verifyObject(spec, name);
  expect(`${verdict} ${reason}`).toBe("accepted ");
});

describe.skipIf(noKernel !== undefined)(withKernel("accepts each"), () => {
  let kernel: KernelMachine | undefined;
  beforeAll(async () => {
    kernel = await KernelMachine.create();
  });
  afterAll(() => kernel?.close());

  test.each(NAMES)("%s", (name) => {
    const theirs = kernel?.verify(spec, name, { logLevel: 1 });
    expect(theirs?.accepted, theirs?.log).toBe(true);
  });
});
