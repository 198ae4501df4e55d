/** The cases of bpf_conformance: sections of assembly or raw words, memory, and the expected r0. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { assemble } from "../src/asm/index.ts";
import { type Instruction, decodeInstructions } from "../src/isa/index.ts";

export interface ConformanceCase {
  readonly name: string;
  readonly instructions: readonly Instruction[];
  /** Undefined where the case has none. */
  readonly memory: Uint8Array | undefined;
  readonly result: bigint;
}

export function readCases(folder: string): ConformanceCase[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".data"))
    .sort()
    .map((file) => readCase(file.replace(/\.data$/, ""), readFileSync(join(folder, file), "utf8")));
}

function readCase(name: string, text: string): ConformanceCase {
  const sections = new Map<string, string[]>();
  let current: string[] = [];
  for (const line of text.split("\n")) {
    const heading = /^-- (.*?)\s*$/.exec(line);
    if (heading === null) current.push(line);
    else {
      current = [];
      sections.set(heading[1] as string, current);
    }
  }
  const section = (title: string): string | undefined => sections.get(title)?.join("\n");
  const memory = section("mem");
  const raw = section("raw");
  return {
    name,
    instructions:
      raw === undefined ? assemble(section("asm") ?? "", { dialect: "rfc" }).instructions : decodeRaw(raw),
    memory: memory === undefined ? undefined : hexBytes(memory),
    result: BigInt.asUintN(64, BigInt(stripComments(section("result") ?? "").trim())),
  };
}

const stripComments = (text: string): string => text.replaceAll(/#.*/g, "");

function hexBytes(text: string): Uint8Array {
  const digits = stripComments(text).replaceAll(/\s/g, "");
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** One 64-bit word for each slot. */
function decodeRaw(text: string): Instruction[] {
  const words = stripComments(text).split(/\s+/).filter(Boolean);
  const bytes = new Uint8Array(words.length * 8);
  const view = new DataView(bytes.buffer);
  words.forEach((word, index) => view.setBigUint64(index * 8, BigInt(word), true));
  return decodeInstructions(bytes);
}
