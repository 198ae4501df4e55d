/** The types of the running kernel, for tests that lay out its structures; undefined where it shows none. */
import { readFileSync } from "node:fs";
import { type Btf, parseBtf } from "../../src/btf/index.ts";

export const kernelTypes: Btf | undefined = read();

function read(): Btf | undefined {
  try {
    return parseBtf(readFileSync("/sys/kernel/btf/vmlinux"), { name: "vmlinux" });
  } catch {
    return undefined;
  }
}
