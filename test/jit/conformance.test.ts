/** The conformance cases of the corpus, compiled. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { decodeInstructions } from "../../src/isa/index.ts";
import { CORPUS, hasCorpus, needs } from "../helpers.ts";
import { DATA, load } from "./harness.ts";

interface Case {
  readonly instructions: readonly Instruction[];
  readonly memory: Uint8Array;
  readonly result: bigint | undefined;
}

/** Sections begin with `-- name`; comments with `#`. */
function parseCase(text: string): Case {
  const sections = new Map<string, string>();
  let name = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("-- ")) name = line.slice(3).trim();
    else sections.set(name, `${sections.get(name) ?? ""}${line.replace(/#.*/, "")}\n`);
  }
  const asm = sections.get("asm");
  const raw = sections.get("raw");
  const result = sections.get("result")?.trim();
  return {
    instructions: asm === undefined ? parseRaw(raw ?? "") : assemble(asm, { dialect: "rfc" }).instructions,
    memory: Uint8Array.from(
      (sections.get("mem") ?? "").match(/[0-9a-f]{2}/gi)?.map((byte) => Number.parseInt(byte, 16)) ?? [],
    ),
    result: result === undefined ? undefined : BigInt.asUintN(64, BigInt(result)),
  };
}

function parseRaw(text: string): Instruction[] {
  const words = text.split(/\s+/).filter((word) => word !== "");
  const view = new DataView(new ArrayBuffer(8 * words.length));
  words.forEach((word, index) => view.setBigUint64(8 * index, BigInt(word), true));
  return decodeInstructions(new Uint8Array(view.buffer));
}

/** Where local calls lead. */
function functionStarts(instructions: readonly Instruction[]): number[] {
  const starts = instructions.flatMap(({ opcode, src, imm }, slot) =>
    opcode === 0x85 && src === 1 ? [slot + 1 + imm] : [],
  );
  return [...new Set(starts)].sort((a, b) => a - b);
}

const folder = join(CORPUS, "conformance");
const files = hasCorpus ? readdirSync(folder).filter((file) => file.endsWith(".data")) : [];

describe.skipIf(!hasCorpus)(needs("conformance cases", hasCorpus, "corpus"), () => {
  it("are there", () => expect(files.length).toBeGreaterThan(200));

  it.each(files)("%s", (file) => {
    const { instructions, memory, result } = parseCase(readFileSync(join(folder, file), "utf8"));
    for (const fuel of [undefined, 1_000_000n]) {
      const harness = load({
        instructions,
        functions: functionStarts(instructions),
        // Those that the cases call: all they need is that the call comes back.
        helpers: Object.fromEntries([...Array(64).keys()].map((id) => [id, () => 0n])),
        ...(fuel === undefined ? {} : { fuel }),
      });
      harness.memory.set(memory, DATA);
      expect(harness.run(memory.length === 0 ? 0 : DATA, memory.length)).toBe(result);
    }
  });
});
