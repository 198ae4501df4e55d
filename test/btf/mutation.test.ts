/**
 * Damaged types and objects through everything that reads them: a result or a BpfError, and soon. CI takes a few; set
 * SKEP_MUTATIONS for more (50,000 were run by hand).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Btf,
  type BtfSource,
  deduplicateTypes,
  encodeBtf,
  formatC,
  formatRaw,
  minimalBtf,
  parseBtf,
} from "../../src/btf/index.ts";
import { parseElf } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { generateSkeleton, linkObjects, linkProgram, parseObject, relocate } from "../../src/object/index.ts";
import { CORPUS, hasCorpus, needs, ROOT } from "../helpers.ts";

const ROUNDS = Number(process.env["SKEP_MUTATIONS"] ?? 300);

/** xorshift32: the same damage every time. */
function random(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const WORDS = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fffe];

/** Some words or bytes changed, between `from` and the end. */
function damage(bytes: Uint8Array, from: number, next: (below: number) => number): Uint8Array {
  const copy = new Uint8Array(bytes);
  const view = new DataView(copy.buffer);
  const span = copy.length - from - 4;
  for (let count = 1 + next(4); count > 0; count--) {
    const at = from + next(span);
    switch (next(4)) {
      case 0:
        copy[at] = next(256);
        break;
      case 1:
        view.setUint32(from + ((at - from) & ~3), WORDS[next(WORDS.length)] ?? 0, true);
        break;
      case 2:
        view.setUint32(from + ((at - from) & ~3), next(64), true);
        break;
      default:
        copy.copyWithin(at, from + next(span), Math.min(copy.length, at + next(64)));
    }
  }
  return next(50) === 0 ? copy.subarray(0, from + next(span)) : copy;
}

/** A result or a BpfError; true if a result. */
function survives(action: () => void): boolean {
  const start = performance.now();
  try {
    action();
    return true;
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return false;
  } finally {
    expect(performance.now() - start).toBeLessThan(5000);
  }
}

const sources = (btf: Btf): BtfSource[] => [...btf.types()] as BtfSource[];

describe.skipIf(!hasCorpus)(needs("damaged", hasCorpus, "corpus"), () => {
  const file = (name: string): Uint8Array => readFileSync(join(CORPUS, "elf", `${name}.elf`));
  const section = (bytes: Uint8Array, name: string): Uint8Array => {
    const elf = parseElf(bytes);
    const found = elf.sections.find((row) => row.name === name);
    return found === undefined ? new Uint8Array() : elf.data(found);
  };

  it("types: print, encode, merge", { timeout: 3_600_000 }, () => {
    const inputs = [
      section(file("relocs-el"), ".BTF"),
      section(file("tags-el"), ".BTF"),
      section(readFileSync(join(ROOT, "test/fixtures/btf/values.bpf.o")), ".BTF"),
    ];
    let fine = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const next = random(round + 1);
      const bytes = damage(inputs[round % inputs.length] as Uint8Array, 24, next);
      for (const action of [
        formatC,
        formatRaw,
        (btf: Btf) => deduplicateTypes(sources(btf)),
        (btf: Btf) => encodeBtf(sources(btf)),
      ]) {
        if (survives(() => void action(parseBtf(bytes)))) fine++;
      }
    }
    expect(fine).toBeGreaterThan(ROUNDS / 2);
  });

  it("targets and programs: relocation, the minimal target", { timeout: 3_600_000 }, () => {
    const specs = ["relocs_read-el", "relocs-el"].map((name) => parseObject(file(name)));
    const targets = ["relocs_read_tgt-el", "relocs-el"].map((name) => section(file(name), ".BTF"));
    let fine = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const next = random(round + 77);
      const spec = specs[round % 2];
      if (spec?.btf === undefined) throw new Error("no BTF");
      const bytes = damage(targets[round % 2] as Uint8Array, 24, next);
      const names = Object.keys(spec.programs);
      const name = names[next(names.length)] ?? "";
      const linked = linkProgram(spec, name);
      if (survives(() => void relocate(linked, { target: parseBtf(bytes) }))) fine++;
      const { btf } = spec;
      survives(() => void minimalBtf(parseBtf(bytes), [{ btf, relocations: linked.coreRelocations }]));
    }
    expect(fine).toBeGreaterThan(ROUNDS / 10);
  });

  it("objects: relocation, linking, skeletons", { timeout: 3_600_000 }, () => {
    const inputs = ["relocs_read-el", "linked1-el", "kconfig-el", "ksym-eb", "loader-clang-22-el"].map(file);
    const other = file("linked2-el");
    let fine = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const next = random(round + 4711);
      const bytes = damage(inputs[round % inputs.length] as Uint8Array, 64, next);
      survives(() => {
        const spec = parseObject(bytes);
        for (const name of Object.keys(spec.programs)) {
          survives(() => {
            const linked = linkProgram(spec, name, { externs: "keep" });
            if (spec.btf !== undefined) relocate(linked, { target: spec.btf });
          });
        }
        if (survives(() => void generateSkeleton(spec, { bytes }))) fine++;
      });
      survives(() => {
        const linked = linkObjects([
          { name: "a", bytes },
          { name: "b", bytes: other },
        ]);
        survives(() => void parseObject(linked));
      });
    }
    expect(fine).toBeGreaterThan(ROUNDS / 10);
  });
});
