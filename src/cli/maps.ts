/** The maps of a finished run, as data and as text. */
import type { BpfMap } from "../machine/index.ts";
import { hex } from "./json.ts";
import type { Terminal } from "./terminal.ts";

export interface MapReport {
  readonly name: string;
  readonly type: string;
  /** Elements that hold something: arrays have every element, so of these only those that are not all zero. */
  readonly entries: readonly { readonly key: unknown; readonly value: unknown }[];
}

const SHOWN = 16;
/** A map of millions of elements is no report; `entries` stops here. */
const MAX_ENTRIES = 10_000;

/** What the programs left in the maps; constants are left out. */
export function mapReports(maps: Readonly<Record<string, BpfMap>>): MapReport[] {
  return Object.values(maps)
    .filter(({ name }) => !name.startsWith(".rodata"))
    .map((map) => ({ name: map.name, type: map.type, entries: [...filled(map)] }));
}

function* filled(map: BpfMap): Generator<{ key: unknown; value: unknown }> {
  const array = map.type === "array" || map.type === "percpu_array";
  let found = 0;
  for (const key of map.keys()) {
    if (array && !hasContent(map, key)) continue;
    if (++found > MAX_ENTRIES) return;
    const value = map.get(key);
    if (value === undefined) continue;
    yield {
      key:
        map.keyType?.decode(key) ??
        (array ? new DataView(key.buffer, key.byteOffset).getUint32(0, true) : key),
      // One CPU: its value is the value.
      value: Array.isArray(value) && map.perCpu && value.length === 1 ? value[0] : value,
    };
  }
}

function hasContent(map: BpfMap, key: Uint8Array): boolean {
  const values = map.perCpu ? (map.lookupPerCpu(key) ?? []) : [map.lookup(key) ?? new Uint8Array(0)];
  return values.some((bytes) => bytes.some((byte) => byte !== 0));
}

export function renderMaps(
  reports: readonly MapReport[],
  { style }: Terminal,
  { all }: { all: boolean },
): string[] {
  const lines: string[] = [];
  for (const { name, type, entries } of reports) {
    if (entries.length === 0) continue;
    const elements = entries.length === 1 ? "1 element" : `${entries.length} elements`;
    lines.push("", style("bold", `map ${name}`) + style("dim", `  ${type}, ${elements}`));
    const shown = all ? entries : entries.slice(0, SHOWN);
    const keys = shown.map(({ key }) => renderValue(key));
    const width = Math.min(40, Math.max(...keys.map((key) => key.length)));
    shown.forEach(({ value }, index) => {
      lines.push(`  ${(keys[index] as string).padEnd(width)}  ${renderValue(value)}`);
    });
    if (entries.length > shown.length) lines.push(`  ... ${entries.length - shown.length} more (--all)`);
  }
  return lines;
}

/** A value on one line: `packets=3 bytes=180`, nested structures in braces. */
export function renderValue(value: unknown, nested = false): string {
  if (value instanceof Uint8Array) return hex(value) || "(empty)";
  if (Array.isArray(value)) return `[${value.map((item) => renderValue(item, true)).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([name, member]) => `${name}=${renderValue(member, true)}`);
    return nested ? `{${members.join(" ")}}` : members.join(" ");
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
