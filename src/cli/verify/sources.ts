/** Source files beside an object: more lines around a place than its debug information has. */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { ExcerptLine, Place } from "../../explain/index.ts";

/** Larger files are no sources that somebody wrote. */
const MOST_BYTES = 4 << 20;
const AROUND = 2;

/**
 * Lines around a place, from the file that the object names, looked up from the object's folder. Undefined if it is not there, or has
 * changed since: the line must be the one that the object remembers.
 */
export function sourceLines(object: string, place: Place): readonly ExcerptLine[] | undefined {
  if (place.line === 0 || place.text === "") return undefined;
  let lines: string[];
  try {
    const path = resolve(dirname(object), place.file);
    const about = statSync(path);
    if (!about.isFile() || about.size > MOST_BYTES) return undefined;
    lines = readFileSync(path, "utf8").split(/\r?\n/);
  } catch {
    return undefined;
  }
  if (lines[place.line - 1]?.trimEnd() !== place.text.trimEnd()) return undefined;
  const first = Math.max(1, place.line - AROUND);
  return lines.slice(first - 1, place.line + AROUND).map((text, index) => ({ line: first + index, text }));
}
