/** Opening of the objects that the tests of this folder share. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type ObjectSpec, parseObject } from "../../src/object/index.ts";
import { CORPUS, ROOT } from "../helpers.ts";

/** An object of test/fixtures, by its name without the extension. */
export function fixture(name: string): ObjectSpec {
  return parseObject(readFileSync(join(ROOT, `test/fixtures/${name}.bpf.o`)), { name: `${name}.bpf.o` });
}

/** An object of the corpus; `name` without byte order and extension. */
export function corpus(name: string, order: "el" | "eb" = "el"): ObjectSpec {
  return parseObject(readFileSync(join(CORPUS, `elf/${name}-${order}.elf`)), {
    name: `${name}-${order}.elf`,
  });
}

/** The BpfError that a function throws. */
export function failure(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
    return error as BpfError;
  }
  throw new Error("nothing was thrown");
}
