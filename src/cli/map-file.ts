/** `--maps FILE`: elements that are put into maps before a run, as JSON. */
import { BpfError } from "../errors.ts";
import { readInput } from "./files.ts";
import type { AnyMap } from "./maps.ts";
import { nearest } from "./nearest.ts";

/**
 * Reads `{ "MAP": [{ "key": …, "value": … }, …] }`. Keys and values are converted through BTF; strings of hex digits
 * stand for bytes where a map has no BTF.
 */
export async function fillMaps(path: string, maps: Readonly<Record<string, AnyMap>>): Promise<void> {
  const fail = (message: string): never => {
    throw new BpfError("usage", `${path}: ${message}`, { where: { file: path } });
  };
  const contents = parse(new TextDecoder().decode(await readInput(path)), path);
  if (!isRecord(contents)) fail("expected an object that has map names as its members");
  for (const [name, elements] of Object.entries(contents as Record<string, unknown>)) {
    const map = maps[name];
    if (map === undefined) {
      const guess = nearest(name, Object.keys(maps));
      fail(
        `no map '${name}'${guess === undefined ? `; there are ${Object.keys(maps).join(", ")}` : `; did you mean '${guess}'?`}`,
      );
      continue;
    }
    if (!Array.isArray(elements)) {
      fail(`map '${name}': expected a list of { key, value }`);
      continue;
    }
    elements.forEach((element: unknown, index) => {
      if (!isRecord(element) || !("key" in element) || !("value" in element)) {
        fail(`map '${name}', element ${index}: expected { "key": ..., "value": ... }`);
        return;
      }
      try {
        map.set(bytesOf(element["key"], map.keyType), bytesOf(element["value"], map.valueType));
      } catch (error) {
        if (error instanceof BpfError) fail(`map '${name}', element ${index}: ${error.message}`);
        throw error;
      }
    });
  }
}

function parse(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new BpfError("usage", `${path}: not JSON: ${(error as Error).message.split("\n")[0]}`, {
      where: { file: path },
    });
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function bytesOf(value: unknown, type: unknown): unknown {
  if (type !== undefined || typeof value !== "string" || !/^([0-9a-fA-F]{2})*$/.test(value)) return value;
  return Uint8Array.from(value.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}
