/** What libbpf 1.x would refuse: its own word is the judge. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type ObjectSpec, parseObject, strictFindings } from "../../src/object/index.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";

const FIXTURES = join(ROOT, "test/fixtures");

const paths = [
  ...readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".bpf.o") && !name.includes(".eb."))
    .map((name) => join(FIXTURES, name)),
  ...(hasCorpus
    ? readdirSync(join(CORPUS, "elf"))
        .filter((name) => name.endsWith("-el.elf"))
        .map((name) => join(CORPUS, "elf", name))
    : []),
];

function parse(path: string): ObjectSpec | undefined {
  try {
    return parseObject(readFileSync(path), { name: path });
  } catch (error) {
    // What nobody loads is no question of strictness.
    if (error instanceof BpfError) return undefined;
    throw error;
  }
}

const objects = paths.flatMap((path) => {
  const spec = parse(path);
  return spec === undefined ? [] : [{ name: path.slice(path.lastIndexOf("/") + 1), path, spec }];
});

/** bpftool's libbpf is 1.1: it is older than what it is asked about. */
const NEWER =
  /expected PTR, got enum64|skipping unrecognized data section\(\d+\) \.struct_ops\.link|name .(tcx|netkit|netfilter)/;

const ready = hasTool("bpftool", "version");

describe.skipIf(!ready)(needs("as libbpf", ready, "bpftool"), () => {
  it.each(objects)("$name", ({ path, spec }) => {
    const opened = spawnSync("bpftool", ["-d", "gen", "skeleton", path], { encoding: "utf8" });
    if (NEWER.test(opened.stderr)) return;
    // A section that names no type is refused when the program is loaded; until then it is only said.
    const refused = opened.status !== 0 || /unrecognized ELF section name/.test(opened.stderr);
    expect(strictFindings(spec).length > 0, opened.stderr.slice(-400)).toBe(refused);
  });
});

describe.skipIf(!hasCorpus)(needs("findings", hasCorpus, "corpus"), () => {
  const findings = (name: string): readonly string[] =>
    strictFindings(objects.find((row) => row.name === name)?.spec as ObjectSpec);

  it.each([
    [
      "iproute2_map_compat-el.elf",
      /^map '\w+': is defined in section 'maps': libbpf reads BTF definitions in '\.maps' only$/,
    ],
    ["relocs-el.elf", /^program 'type_ids': section 'socket\/type_ids' only begins like 'socket'/],
    ["tags-el.elf", /^'fwdDecl': is declared and nowhere defined$/],
  ])("%s", (name, message) => {
    expect(findings(name)[0]).toMatch(message);
  });

  it("parseObject refuses with strict, and tells how much more there is", () => {
    const bytes = readFileSync(join(CORPUS, "elf/relocs-el.elf"));
    expect(() => parseObject(bytes, { name: "relocs.o", strict: true })).toThrow(
      /^program 'type_ids': .* \(and \d+ more that libbpf 1\.x refuses\)$/,
    );
    expect(parseObject(bytes, { name: "relocs.o" }).programs).toHaveProperty("type_ids");
  });
});
