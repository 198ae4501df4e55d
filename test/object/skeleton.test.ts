import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { generateSkeleton, parseObject } from "../../src/object/index.ts";
import { CORPUS, hasCorpus, ROOT } from "../helpers.ts";
import { skep } from "../cli/run-cli.ts";

const FIXTURES = join(ROOT, "test/fixtures");
const FIREWALL = join(ROOT, "examples/firewall/firewall.bpf.o");

describe("generateSkeleton", () => {
  it("knows the types of maps and variables", async () => {
    const { stdout, status } = await skep("gen", "skeleton", FIREWALL);
    expect(status).toBe(0);
    for (const line of [
      "  readonly firewall: Program;",
      "  readonly blocked4: TypedMap<Key4, number>;",
      "  readonly verdicts: TypedMap<number, ReadonlyArray<Tally>>;",
      "  readonly drop_later_fragments: Variable<boolean>;",
      "export function openFirewall(): FirewallObject {",
    ]) {
      expect(stdout).toContain(line);
    }
  });

  it("declares structures by name, and says which there are not", () => {
    const bytes = readFileSync(FIREWALL);
    const spec = parseObject(bytes, { name: "firewall.bpf.o" });
    expect(generateSkeleton(spec, { bytes, types: ["xdp_md"] })).toContain("export function decodeXdpMd(");
    expect(() => generateSkeleton(spec, { bytes, types: ["nothing"] })).toThrow(
      "firewall.bpf.o: it has no structure 'nothing'",
    );
  });

  it("compiles, for every object, with strict options", { timeout: 60_000 }, () => {
    const paths = [
      FIREWALL,
      ...readdirSync(FIXTURES)
        .filter((name) => /^(?!bad)[\w-]+\.bpf\.o$/.test(name))
        .map((name) => join(FIXTURES, name)),
      ...(hasCorpus
        ? readdirSync(join(CORPUS, "elf"))
            .filter((name) => /-el\./.test(name) && !name.startsWith("invalid_"))
            .map((name) => join(CORPUS, "elf", name))
        : []),
    ];
    const folder = mkdtempSync(join(tmpdir(), "skep-skeleton-"));
    try {
      mkdirSync(join(folder, "out"));
      writeFileSync(join(folder, "package.json"), '{"type":"module"}');
      for (const path of paths) {
        const bytes = readFileSync(path);
        writeFileSync(
          join(folder, "out", `${basename(path)}.ts`),
          generateSkeleton(parseObject(bytes, { name: basename(path) }), { bytes }),
        );
      }
      const use = `import { Machine } from "skep/machine";
import { openFirewall } from "./firewall.bpf.o.ts";
const object = openFirewall();
object.variables.drop_later_fragments.set(false);
const { programs, maps } = await object.load(await Machine.create());
maps.blocked4.set({ prefixlen: 24, addr: [10, 0, 0, 0] }, 1);
const reason: "PASSED" | string | number | undefined = maps.verdicts.get(0)?.[0]?.reason;
programs.firewall.run({ packet: new Uint8Array(64) });
// @ts-expect-error a key of another type
maps.blocked4.get(7);
export { reason };
`;
      writeFileSync(join(folder, "out/use.ts"), use);
      const options = JSON.parse(
        readFileSync(join(ROOT, "tsconfig.json"), "utf8").replace(/^\s*\/\/.*$/gm, ""),
      ) as { compilerOptions: Record<string, unknown> };
      const { compilerOptions } = options;
      for (const name of ["rootDir", "outDir", "tsBuildInfoFile", "composite", "incremental", "types"])
        delete compilerOptions[name];
      writeFileSync(
        join(folder, "tsconfig.json"),
        JSON.stringify({
          compilerOptions: {
            ...compilerOptions,
            noEmit: true,
            allowImportingTsExtensions: true,
            paths: { "skep/*": [join(ROOT, "src/*/index.ts")] },
          },
          include: ["out"],
        }),
      );
      const tsc = spawnSync(process.execPath, [join(ROOT, "node_modules/.bin/tsc"), "-p", folder], {
        encoding: "utf8",
      });
      expect(tsc.stdout.split("\n").filter((line) => line.includes("out/"))).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("puts nothing of a file's names into code", () => {
    const bytes = readFileSync(FIREWALL);
    const spec = { ...parseObject(bytes), name: "x\n*/ evil(); /*\u2028evil();" };
    const text = generateSkeleton(spec, { bytes });
    expect(text.split(/[\n\u2028]/).filter((line) => line.trimStart().startsWith("evil"))).toEqual([]);
  });
});

describe("skep gen", () => {
  it.each([
    [["gen"], /say what to make: object, skeleton or min_core_btf/],
    [["gen", "nonsense"], /'nonsense' is not known/],
    [["gen", "object", "x"], /wants OUT FILE/],
    [["gen", "skeleton"], /wants FILE/],
    [["gen", "skeleton", FIREWALL, "name"], /wants FILE \[name NAME\]/],
    [["gen", "min_core_btf", "a", "b"], /wants IN OUT OBJECT/],
  ])("%j is an error", async (args, message) => {
    const { status, stderr } = await skep(...args);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });

  it.skipIf(!hasCorpus)("links objects and cuts BTF", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-gen-"));
    try {
      const [out, min] = [join(folder, "out.o"), join(folder, "min.btf")];
      const elf = (name: string): string => join(CORPUS, `elf/${name}.elf`);
      expect(await skep("gen", "object", out, elf("linked1-el"), elf("linked2-el"))).toMatchObject({
        status: 0,
        stderr: "",
      });
      expect(Object.keys(parseObject(readFileSync(out)).programs).length).toBe(5);
      const cut = await skep("gen", "min_core_btf", elf("relocs_read_tgt-el"), min, elf("relocs_read-el"));
      expect(cut).toMatchObject({ status: 0, stderr: "" });
      expect((await skep("btf", "dump", min)).stdout).toMatch(/^\[1\] /);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
