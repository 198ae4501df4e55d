/**
 * Our own rejected programs: does the explanation name the right line and the right cause, and does the running kernel
 * reject each too? The expected class and line stand in the sources, as `// REJECT program: class`; `artefact` behind it
 * marks programs whose source does what it should.
 */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseBtf } from "../../src/btf/index.ts";
import { CLASSES, type Explanation, explain } from "../../src/explain/index.ts";
import { parseObject } from "../../src/object/index.ts";
import {
  type Capability,
  type VerifierOptions,
  objectProgram,
  verifyObject,
} from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { KernelMachine, type KernelVerdict } from "../../src/kernel/index.ts";
import { loadCapabilities } from "../verify-diff/capabilities.ts";

const FOLDER = "test/fixtures/rejected";

/** "// CAPABILITIES bpf" at the top of a source: what the process that loads it has. */
function capabilitiesOf(source: string): readonly Capability[] | undefined {
  const words = /^\/\/ CAPABILITIES (.*)$/m.exec(source)?.[1];
  if (words === undefined) return undefined;
  return words === "none" ? [] : (words.split(",") as Capability[]);
}

interface Row {
  readonly capabilities: readonly Capability[] | undefined;
  readonly object: string;
  readonly program: string;
  readonly class: string;
  readonly line: number;
  readonly artefact: boolean;
}

const OBJECTS = readdirSync(FOLDER).filter((name) => name.endsWith(".bpf.c"));

const ROWS: readonly Row[] = OBJECTS.flatMap((name) => {
  const source = readFileSync(`${FOLDER}/${name}`, "utf8");
  const capabilities = capabilitiesOf(source);
  return source.split("\n").flatMap((text, index): Row[] => {
    const match = /\/\/ REJECT (\w+): ([\w-]+)( artefact)?/.exec(text);
    if (match === null) return [];
    return [
      {
        capabilities,
        object: name.replace(/\.c$/, ".o"),
        program: match[1] as string,
        class: match[2] as string,
        line: index + 1,
        artefact: match[3] !== undefined,
      },
    ];
  });
});

function optionsOf({ capabilities }: Row): VerifierOptions {
  return capabilities === undefined ? {} : { capabilities };
}

const specs = new Map(
  OBJECTS.map((name) => {
    const object = name.replace(/\.c$/, ".o");
    return [object, parseObject(readFileSync(`${FOLDER}/${object}`), { name: object })] as const;
  }),
);

const VMLINUX = "/sys/kernel/btf/vmlinux";
/** Sources that say so are judged with the types of the running kernel. */
const NEED_TYPES: ReadonlySet<string> = new Set(
  OBJECTS.filter((name) => readFileSync(`${FOLDER}/${name}`, "utf8").includes("needs: kernel types")).map(
    (name) => name.replace(/\.c$/, ".o"),
  ),
);
const kernelTypes = existsSync(VMLINUX) ? parseBtf(new Uint8Array(readFileSync(VMLINUX))) : undefined;
const typesOf = (object: string) => (NEED_TYPES.has(object) ? kernelTypes : undefined);
/** Skipped where the running kernel shows no types. */
const JUDGED = ROWS.filter(({ object }) => kernelTypes !== undefined || !NEED_TYPES.has(object));

function explanationOf(row: Row): Explanation | undefined {
  const { object, program } = row;
  const spec = specs.get(object);
  const input = spec === undefined ? undefined : objectProgram(spec, program, typesOf(object) ?? spec.btf);
  return input === undefined ? undefined : explain(input, optionsOf(row));
}

test("every program of the objects has a row, and every class at least four", () => {
  for (const [object, spec] of specs) {
    const rows = ROWS.filter((row) => row.object === object).map((row) => row.program);
    expect(rows.toSorted(), object).toEqual(Object.keys(spec.programs).toSorted());
  }
  const classes = new Set(ROWS.map((row) => row.class));
  for (const name of classes) {
    expect(CLASSES.map(({ id }) => id as string)).toContain(name);
    expect(ROWS.filter((row) => row.class === name).length, name).toBeGreaterThanOrEqual(4);
  }
});

describe("the explanation names line and cause", () => {
  test.each(JUDGED)("$program: $class", (row) => {
    const found = explanationOf(row);
    expect({
      class: found?.class,
      line: found?.at?.line,
      artefact: found?.artefact !== undefined,
    }).toEqual({ class: row.class, line: row.line, artefact: row.artefact });
    expect(found?.cause).not.toMatch(/undefined|NaN|  /);
    expect(found?.missing).not.toBe("");
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("rejects each, with the same words"), () => {
  let kernel: KernelMachine | undefined;
  beforeAll(async () => {
    kernel = await KernelMachine.create();
  });
  afterAll(() => kernel?.close());

  // A user without any capability loads nothing where kernel.unprivileged_bpf_disabled is set.
  const asked = JUDGED.filter(
    ({ capabilities }) => capabilities === undefined || capabilities.includes("bpf"),
  );

  test.each(asked)("$program", async (row) => {
    const { object, program, capabilities } = row;
    const spec = specs.get(object);
    const running = kernel;
    if (spec === undefined || running === undefined) throw new Error(object);
    const ask = (): KernelVerdict => running.verify(spec, program, { logLevel: 1 });
    const theirs = capabilities === undefined ? ask() : (await loadCapabilities())(capabilities, ask);
    expect(theirs.accepted).toBe(false);
    // A million instructions twice would cost more than they tell.
    if (theirs.error?.errno === "E2BIG") return;
    const btf = typesOf(object);
    const { reason } = verifyObject(spec, program, {
      ...optionsOf(row),
      logLevel: 1,
      ...(btf === undefined ? {} : { btf }),
    });
    expect(theirs.log).toContain(reason.replace(/processed \d+ insns.*/, ""));
  });
});
