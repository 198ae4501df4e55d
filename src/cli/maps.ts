/** The maps of a finished run, as data and as text. */
import { BpfError } from "../errors.ts";
import type { Codec } from "../machine/index.ts";
import { hex } from "./json.ts";
import type { Terminal } from "./terminal.ts";

/** The face that maps of a machine and of the kernel share. */
export interface AnyMap {
  readonly name: string;
  readonly type: string;
  readonly perCpu: boolean;
  readonly keyType: Codec | undefined;
  readonly valueType: Codec | undefined;
  keys(): Iterable<Uint8Array>;
  lookup(key: Uint8Array): Uint8Array | undefined;
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined;
  get(key: unknown): unknown;
  set(key: unknown, value: unknown): void;
}

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
export function mapReports(maps: Readonly<Record<string, AnyMap>>): MapReport[] {
  return Object.values(maps)
    .filter(({ name }) => !name.startsWith(".rodata"))
    .map((map) => ({ name: map.name, type: map.type, entries: elementsOf(map) }));
}

/** What bpf(2) says of maps that have no elements to go through: rings, queues, filters, local storage. */
const NO_LIST: readonly (string | undefined)[] = ["ENOTSUPP", "EOPNOTSUPP", "EINVAL"];

function elementsOf(map: AnyMap): MapReport["entries"] {
  try {
    return [...filled(map)];
  } catch (error) {
    if (error instanceof BpfError && NO_LIST.includes(error.errno)) return [];
    throw error;
  }
}

function* filled(map: AnyMap): Generator<{ key: unknown; value: unknown }> {
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

function hasContent(map: AnyMap, key: Uint8Array): boolean {
  const values = map.perCpu ? (map.lookupPerCpu(key) ?? []) : [map.lookup(key) ?? new Uint8Array(0)];
  return values.some((bytes) => bytes.some((byte) => byte !== 0));
}

export function renderMaps(
  reports: readonly MapReport[],
  { style }: Terminal,
  { all, prefix = "map" }: { all: boolean; prefix?: string },
): string[] {
  const lines: string[] = [];
  for (const { name, type, entries } of reports) {
    if (entries.length === 0) continue;
    const elements = entries.length === 1 ? "1 element" : `${entries.length} elements`;
    lines.push("", style("bold", `${prefix} ${name}`) + style("dim", `  ${type}, ${elements}`));
    const shown = all ? entries : entries.slice(0, SHOWN);
    const keys = shown.map(({ key }) => renderValue(key));
    const width = Math.min(40, Math.max(...keys.map((key) => key.length)));
    shown.forEach(({ value }, index) => {
      const text =
        type === "stack_trace" && value instanceof Uint8Array ? renderStack(value) : renderValue(value);
      lines.push(`  ${(keys[index] as string).padEnd(width)}  ${text}`);
    });
    if (entries.length > shown.length) lines.push(`  ... ${entries.length - shown.length} more (--all)`);
  }
  return lines;
}

/** The addresses of a stack; behind the last one all is zero. */
function renderStack(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length - (bytes.length % 8));
  const addresses: string[] = [];
  for (let at = 0; at < view.byteLength; at += 8) addresses.push(view.getBigUint64(at, true).toString(16));
  while (addresses.at(-1) === "0") addresses.pop();
  return addresses.length === 0 ? "(empty)" : addresses.map((address) => `0x${address}`).join(" ");
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
