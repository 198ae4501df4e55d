/**
 * libbpf says in its debug output how it reads an object: maps, relocations, the order of subprograms and every call that
 * it patches. bpftool prints that; the object is loaded in a mount namespace of its own, whose pins end with the process.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type LinkedProgram,
  linkProgram,
  type ObjectSpec,
  parseObject,
  type Reference,
} from "../../src/object/index.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";

/** Opening an object is enough for maps and relocations, and needs neither root nor a kernel. */
function openOutput(path: string): string {
  return spawnSync("bpftool", ["-d", "gen", "skeleton", path], { encoding: "utf8", maxBuffer: 1 << 28 })
    .stderr;
}

const SCRIPT = 'mount -t bpf bpf /sys/fs/bpf && bpftool -d prog loadall "$0" /sys/fs/bpf/skep';

/** Subprograms are put together when an object is loaded. */
function loadOutput(path: string): string {
  const { stderr, stdout } = spawnSync("unshare", ["-m", "sh", "-c", SCRIPT, path], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  return stderr + stdout;
}

const FIXTURES = join(ROOT, "test/fixtures");
const objects = [
  ...readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".bpf.o") && !name.includes(".eb."))
    .map((name) => join(FIXTURES, name)),
  ...["firewall", "packet-counter", "rewrite"].map((name) => join(ROOT, `examples/${name}/${name}.bpf.o`)),
  ...(hasCorpus
    ? readdirSync(join(CORPUS, "elf"))
        .filter((name) => name.endsWith("-el.elf"))
        .map((name) => join(CORPUS, "elf", name))
    : []),
];

const available = hasTool("bpftool", "version");
/** Loading needs a kernel that lets us; without it libbpf stops before it links. */
const canLoad =
  available && hasTool("unshare") && /added \d+ insns/.test(loadOutput(join(FIXTURES, "calls.bpf.o")));

interface Said {
  /** By map and attribute: "flows max_entries" -> 8. */
  readonly attributes: ReadonlyMap<string, number>;
  /** "program slot map" for each reference to a map. */
  readonly references: ReadonlySet<string>;
  /** "program slot" for each patched call or function address of the function, and the distance. */
  readonly distances: readonly (readonly [
    caller: string,
    slot: number,
    distance: number,
    callee: string,
    offset: number,
  ])[];
  /** By program, the functions that were appended. */
  readonly appended: ReadonlyMap<string, readonly string[]>;
}

function understand(output: string): Said {
  const attributes = new Map<string, number>();
  const references = new Set<string>();
  const distances: (readonly [string, number, number, string, number])[] = [];
  const appended = new Map<string, string[]>();
  const dataMaps = new Map<string, string>();
  for (const line of output.split("\n")) {
    let match = /^libbpf: map '(.+?)': found (?:(key|value) \[\d+\], sz|(\w+)) = (\w+)\.$/.exec(line);
    if (match) {
      const what = match[2] === undefined ? match[3] : `${match[2]}_size`;
      attributes.set(`${match[1]} ${what}`, Number(match[4]));
    }
    match = /^libbpf: map '(.+?)' \(global data\): at sec_idx (\d+)/.exec(line);
    if (match) dataMaps.set(match[2] as string, match[1] as string);
    match = /^libbpf: prog '(.+?)': found map \d+ \((.+?), sec \d+, off \d+\) for insn #(\d+)$/.exec(line);
    if (match) references.add(`${match[1]} ${match[3]} ${match[2]}`);
    match = /^libbpf: prog '(.+?)': found data map \d+ \(.+?, sec (\d+), off \d+\) for insn (\d+)$/.exec(
      line,
    );
    // libbpf puts a part of the object's name before ".bss" and ".data".
    if (match)
      references.add(`${match[1]} ${match[3]} ${dataMaps.get(match[2] as string)?.replace(/^[^.]*\./, ".")}`);
    match = /^libbpf: prog '(.+?)': added \d+ insns from sub-prog '(.+?)'$/.exec(line);
    if (match) {
      const list = appended.get(match[1] as string);
      if (list) list.push(match[2] as string);
      else appended.set(match[1] as string, [match[2] as string]);
    }
    match =
      /^libbpf: prog '(.+?)': insn #(\d+) relocated, imm (-?\d+) points to subprog '(.+?)' \(now at (\d+) offset\)$/.exec(
        line,
      );
    if (match)
      distances.push([
        match[1] as string,
        Number(match[2]),
        Number(match[3]),
        match[4] as string,
        Number(match[5]),
      ]);
  }
  return { attributes, references, distances, appended };
}

function open(path: string): ObjectSpec | undefined {
  try {
    return parseObject(readFileSync(path), { name: basename(path) });
  } catch {
    return undefined;
  }
}

function attributesOf(spec: ObjectSpec, name: string, attribute: string): number | undefined {
  const inner = name.endsWith(".inner") ? spec.maps[name.slice(0, -6)]?.innerMap : undefined;
  const map = inner ?? spec.maps[name];
  switch (attribute) {
    case "type":
      return map?.typeId;
    case "key_size":
      return map?.keySize;
    case "value_size":
      // What travels through a perf event array is no value; libbpf passes the size on, and the kernel refuses it.
      return map?.type === "perf_event_array" && map.value !== undefined ? 16 : map?.valueSize;
    case "max_entries":
      return map?.maxEntries;
    case "map_flags":
      return map?.flags;
    case "map_extra":
      return Number(map?.extra);
    case "pinning":
      return map?.pinning;
    case "numa_node":
      return map?.numaNode;
    default:
      return undefined;
  }
}

describe.skipIf(!available)(
  needs(`libbpf reads ${objects.length} objects as we do`, available, "bpftool"),
  () => {
    it("maps and references to them", () => {
      let attributes = 0;
      let references = 0;
      for (const path of objects) {
        const spec = open(path);
        if (spec === undefined) continue;
        const said = understand(openOutput(path));
        for (const [key, value] of said.attributes) {
          const [name = "", attribute = ""] = key.split(" ");
          expect([basename(path), key, attributesOf(spec, name, attribute)]).toEqual([
            basename(path),
            key,
            value,
          ]);
          attributes++;
        }
        const ours = new Set(
          spec.functions.flatMap((own) =>
            own.references.flatMap((row) =>
              row.kind === "map" || row.kind === "map_value" ? [`${own.name} ${row.slot} ${row.map}`] : [],
            ),
          ),
        );
        for (const reference of said.references)
          expect(ours, `${basename(path)}: ${reference}`).toContain(reference);
        references += said.references.size;
      }
      expect(attributes).toBeGreaterThan(100);
      expect(references).toBeGreaterThan(100);
    });
  },
);

function isCall(reference: Reference): reference is Extract<Reference, { kind: "call" | "function" }> {
  return reference.kind === "call" || reference.kind === "function";
}

/** Each call or function address of a linked program, as libbpf would report it. */
function distancesOf(linked: LinkedProgram): Set<string> {
  const rows = new Set<string>();
  for (const { name, start, spec } of linked.functions) {
    for (const reference of spec.references) {
      if (!isCall(reference)) continue;
      const imm = linked.instructions[start + reference.slot]?.imm ?? 0;
      const callee = linked.functions.find((row) => row.spec.index === reference.function);
      // libbpf counts the slot inside the function, and the distance from where the function now is.
      rows.add([name, reference.slot, imm, callee?.name, callee?.start].join(" "));
    }
  }
  return rows;
}

describe.skipIf(!canLoad)(
  needs(`libbpf links ${objects.length} objects as we do`, canLoad, "kernel that loads programs"),
  () => {
    it("order of functions, and every distance", () => {
      let programs = 0;
      let distances = 0;
      for (const path of objects) {
        const spec = open(path);
        if (spec === undefined || !spec.functions.some(({ references }) => references.some(isCall))) continue;
        const said = understand(loadOutput(path));
        const ours = new Set<string>();
        for (const program of Object.values(spec.programs)) {
          let linked: LinkedProgram;
          try {
            linked = linkProgram(spec, program.name, { externs: "keep" });
          } catch {
            continue;
          }
          for (const row of distancesOf(linked)) ours.add(row);
          const appended = said.appended.get(program.name);
          // libbpf appends callbacks of exceptions since 1.3, without a word.
          if (appended === undefined || linked.exceptionCallback !== undefined) continue;
          expect([basename(path), ...linked.functions.map(({ name }) => name)]).toEqual([
            basename(path),
            program.name,
            ...appended,
          ]);
          programs++;
        }
        for (const row of said.distances) {
          expect(ours, `${basename(path)}: ${row.join(" ")}`).toContain(row.join(" "));
          distances++;
        }
      }
      expect(programs).toBeGreaterThan(10);
      expect(distances).toBeGreaterThan(50);
    });
  },
);
