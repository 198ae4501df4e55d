/** The programs that are measured lie in `bench/` of the package, sources and objects side by side. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ObjectSpec, parseObject } from "../../object/index.ts";

/** A path below `bench/`, which lies above this module, in a bundle not as far above. */
export function benchFolder(path: string): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "bench/classic")) && folder !== dirname(folder)) folder = dirname(folder);
  return join(folder, "bench", path);
}

export function benchObject(path: string): ObjectSpec {
  return parseObject(readFileSync(benchFolder(path)), { name: path });
}
