/**
 * A kernel's configuration, packed or not. A file of its own, so that commands load zlib only if there is one: the bundled command cannot
 * import the modules of Node.js later by themselves.
 */
import { gunzipSync } from "node:zlib";
import { BpfError } from "../errors.ts";
import { readInput } from "./files.ts";

export async function readConfig(path: string): Promise<string> {
  const bytes = await readInput(path);
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  try {
    return Buffer.from(packed ? gunzipSync(bytes) : bytes).toString("latin1");
  } catch (cause) {
    throw new BpfError("io", `${path}: damaged gzip data`, { where: { file: path }, cause });
  }
}
