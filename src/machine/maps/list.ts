/** What map types there are, and what each takes: from the table. */
import {
  HELPERS,
  type HelperName,
  KFUNCS,
  MAP_RULES,
  MAP_TYPES,
  type MapRules,
  type MapType,
  WRITING_HELPERS,
  helperTakesMap,
} from "../../uapi/index.ts";

/** A map type of Linux 6.18. All of them can be created here. */
export interface MapTypeInfo {
  readonly id: number;
  readonly name: MapType;
  /** "yes": everything; "pages only" and the like: what of it is not there, in words. */
  readonly status: string;
  /** BPF_F_ flags that it may be created with, in lower case and without BPF_F_, and those that it must be. */
  readonly flags: readonly string[];
  readonly needs: readonly string[];
  /** Bytes: "4", "4 or 8", "from 1", "from 1 to 32768", "none". */
  readonly key: string;
  readonly value: string;
  readonly entries: MapRules["entries"];
  /** What programs do with it: bpf_map_lookup_elem and its like by their names without `map_` and `_elem`, then other helpers. */
  readonly programs: readonly string[];
  /** Fields of the kernel that values may have. */
  readonly fields: readonly string[];
  /** What the host does with it beyond single elements. */
  readonly host: readonly string[];
  readonly sleepable: boolean;
}

/** What is not there, of the types that are not whole. */
const PARTS: Readonly<Partial<Record<MapType, string>>> = {
  devmap: "programs in its entries do not run",
  devmap_hash: "programs in its entries do not run",
  cpumap: "programs in its entries do not run",
  xskmap: "without sockets of AF_XDP: entries are addresses",
  lru_hash: "evicts one element at a time, Linux several",
  lru_percpu_hash: "evicts one element at a time, Linux several",
};

/** Helpers that take any map that they fit: those of elements. */
const ELEMENT_HELPERS: readonly HelperName[] = [
  "map_lookup_elem",
  "map_update_elem",
  "map_delete_elem",
  "map_push_elem",
  "map_pop_elem",
  "map_peek_elem",
  "map_lookup_percpu_elem",
  "for_each_map_elem",
];

function bytes(range: MapRules["key"]): string {
  if (!("min" in range)) {
    const sizes = range.filter((size) => size > 0);
    return sizes.length === 0 ? "none" : sizes.join(" or ");
  }
  return range.max === undefined ? `from ${range.min}` : `from ${range.min} to ${range.max}`;
}

function takes(row: MapRules, helper: HelperName): boolean {
  if (helper === "map_lookup_elem" && row.lookup === "none") return false;
  if (helper === "for_each_map_elem") return row.forEach === true;
  // The kernel's table lets these helpers take maps whose type then refuses every call.
  if (WRITING_HELPERS.includes(helper) && row.lookup === "none" && row.helpers === undefined) return false;
  return helperTakesMap(helper, row.name);
}

const ARENA_KFUNCS = KFUNCS.map(({ name }) => name).filter((name) => name.startsWith("bpf_arena_"));

/** Helpers that are made for one type of map, or a few. */
const special = (row: MapRules): HelperName[] =>
  HELPERS.map(({ name }) => name).filter(
    (name) => !ELEMENT_HELPERS.includes(name) && (row.helpers?.includes(name) ?? false),
  );

/**
 * All map types, in the order of their ids.
 *
 * @example
 * listMapTypes().find(({ name }) => name === "ringbuf")?.entries; // "bytes"
 */
export function listMapTypes(): readonly MapTypeInfo[] {
  return MAP_RULES.map((rules) => {
    const row: MapRules = rules;
    const host = [
      ...(row.batch !== undefined ? ["batch"] : []),
      ...(row.lookupAndDelete === true ? ["lookup and delete"] : []),
      ...(row.perCpu === true ? ["a value for each CPU"] : []),
      ...(row.inner === true ? ["in maps of maps"] : []),
    ];
    return {
      id: MAP_TYPES.find(({ name }) => name === row.name)?.id ?? 0,
      name: row.name,
      status: PARTS[row.name] ?? "yes",
      flags: row.flags,
      needs: row.needs ?? [],
      key: bytes(row.key),
      value: bytes(row.value),
      entries: row.entries,
      programs: [
        ...ELEMENT_HELPERS.filter((helper) => takes(row, helper)).map((name) =>
          name.replace(/^map_|_elem$|_map_elem$/g, ""),
        ),
        ...(row.direct === true ? ["variables"] : []),
        ...special(row),
        ...(row.name === "arena" ? ARENA_KFUNCS : []),
      ],
      fields: row.fields,
      host,
      sleepable: row.sleepable === true,
    };
  }).toSorted((a, b) => a.id - b.id);
}

/** docs/map-types.md. */
export function mapTypesMarkdown(): string {
  const types = listMapTypes();
  return [
    "# Map types",
    "",
    "Made from the table in `src/uapi/maps.ts` by `skep maps --types --markdown`; a test checks that it is current, others hold the rows",
    "against the running kernel. Flags are BPF_F_ flags; those in bold must be given. What docs/maps.md says of the host's side goes for all.",
    "",
    "| id | type | here | key | value | max_entries | flags | programs | fields | sleepable |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ...types.map(({ id, name, status, key, value, entries, flags, needs, programs, fields, sleepable }) => {
      const marked = flags.map((flag) => (needs.includes(flag) ? `**${flag}**` : flag)).join(" ");
      const cells = [id, name, status, key, value, entries, marked, programs.join(", "), fields.join(" ")];
      return `| ${cells.join(" | ")} | ${sleepable ? "yes" : "no"} |`;
    }),
    "",
  ].join("\n");
}
