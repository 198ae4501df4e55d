/** Source lines in the log (verbose_linfo of kernel/bpf/log.c). */
import type { LineInfo } from "../btf/index.ts";
import type { Environment } from "./environment.ts";

/** Index of the line record that covers a slot, or -1. */
function lineIndex(lines: readonly LineInfo[], slot: number): number {
  let low = 0;
  let high = lines.length - 1;
  let found = -1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if ((lines[middle] as LineInfo).slot <= slot) {
      found = middle;
      low = middle + 1;
    } else high = middle - 1;
  }
  return found;
}

/** The line record that covers a slot. */
export function lineAt(lines: readonly LineInfo[], slot: number): LineInfo | undefined {
  return lines[lineIndex(lines, slot)];
}

/** Writes the source line of a slot, unless the last one that was written is the same. */
export function lineBefore(env: Environment, slot: number, prefix: string): void {
  const { lines } = env.program;
  if (lines === undefined || lines.length === 0 || env.log.level === 0) return;
  const index = lineIndex(lines, slot);
  if (index < 0 || index === env.lastLine) return;
  const { text, file, line } = lines[index] as LineInfo;
  const last = env.lastLine < 0 ? undefined : lines[env.lastLine];
  if (last !== undefined && last.file === file && last.line === line) return;
  env.verbose(`${prefix}${text.replace(/^\s+/, "")} @ ${file.slice(file.lastIndexOf("/") + 1)}:${line}\n`);
  env.lastLine = index;
}
