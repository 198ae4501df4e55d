/** The programs that are measured lie in `bench/` of the package, sources and objects side by side. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type ObjectSpec, parseObject } from "../../object/index.ts";

const ROOT = new URL("../../../bench/", import.meta.url);

/** A path below `bench/`. */
export function benchFolder(path: string): string {
  return fileURLToPath(new URL(path, ROOT));
}

export function benchObject(path: string): ObjectSpec {
  return parseObject(readFileSync(benchFolder(path)), { name: path });
}
