/** Random expressions against libpcap's compiler: who accepts what, and equal verdicts on packets made to differ. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BpfError } from "../../src/errors.ts";
import { type CbpfInstruction, type CbpfProgram, checkCbpf } from "../../src/cbpf/index.ts";
import { compileFilter, type CompiledFilter, type FilterOptions } from "../../src/filter/index.ts";
import { LINK_TYPES, type LinkRow } from "../../src/filter/linktypes.ts";
import { CORPUS, hasTool } from "../helpers.ts";
import { corpusResolver, plainSeeds, random, straddling, verdict } from "./corpus.ts";
import { randomExpression } from "./expressions.ts";

export interface Question {
  readonly link: LinkRow;
  readonly expression: string;
  readonly live: boolean;
}

/** A program, or why there is none. */
export type Answer = { readonly program: readonly CbpfInstruction[] } | { readonly error: string };

let built: string | undefined;

/** libpcap's compiler as a program of ours, or undefined where there is no compiler or no libpcap. */
export function libpcap(): string | undefined {
  if (built !== undefined || !hasTool("cc")) return built;
  const source = fileURLToPath(new URL("libpcap.c", import.meta.url));
  const binary = join(mkdtempSync(join(tmpdir(), "skep-libpcap-")), "libpcap");
  spawnSync("cc", ["-O2", "-o", binary, source, "-lpcap", "-ldl"], { stdio: "ignore" });
  if (existsSync(binary)) built = binary;
  return built;
}

export function ask(questions: readonly Question[], optimise: boolean): Answer[] {
  const files = ["hosts", "ethers", "networks"].map((name) => join(CORPUS, "filters", name));
  const input = questions
    .map(
      ({ link, expression, live }) =>
        `${link.dlt} 262144 4294967295 ${optimise ? 1 : 0} ${live ? 1 : 0} ${expression}\n`,
    )
    .join("");
  const { stdout, status } = spawnSync(libpcap() as string, files, {
    input,
    encoding: "latin1",
    maxBuffer: 2 ** 30,
  });
  const lines = stdout.trimEnd().split("\n");
  if (status !== 0 || lines.length !== questions.length) {
    throw new Error(`libpcap answered ${lines.length} of ${questions.length} questions, status ${status}`);
  }
  return lines.map((line): Answer => {
    if (line.startsWith("E ")) return { error: line.slice(2) };
    const numbers = line.slice(2).split(" ").map(Number);
    const program: CbpfInstruction[] = [];
    for (let at = 1; at < numbers.length; at += 4) {
      const [code = 0, jt = 0, jf = 0, k = 0] = numbers.slice(at, at + 4);
      program.push({ code, jt, jf, k });
    }
    return { program };
  });
}

export function randomQuestions(count: number, seed: number): Question[] {
  const next = random(seed);
  const links = LINK_TYPES.filter((link) => link.refusal === undefined || link.ss7 !== undefined);
  const ethernet = LINK_TYPES.find((link) => link.name === "EN10MB") as LinkRow;
  return Array.from({ length: count }, () => {
    const link =
      next() < 0.35
        ? ethernet
        : next() < 0.03
          ? (LINK_TYPES[Math.floor(next() * LINK_TYPES.length)] as LinkRow)
          : (links[Math.floor(next() * links.length)] as LinkRow);
    const live = link === ethernet && next() < 0.1;
    return { link, expression: randomExpression(next, link.family), live };
  });
}

export interface Difference {
  readonly what: "accepted" | "refused" | "verdict" | "optimised" | "reading";
  readonly question: Question;
  readonly detail: string;
}

export interface Comparison {
  readonly differences: Difference[];
  compiled: number;
  refused: number;
  packets: number;
}

const compile = (question: Question, more: FilterOptions): CompiledFilter | BpfError => {
  try {
    return compileFilter(question.expression, {
      linktype: question.link.dlt,
      resolver: corpusResolver(),
      live: question.live,
      ...more,
    });
  } catch (error) {
    if (error instanceof BpfError && error.where.column !== undefined) return error;
    throw error;
  }
};

/**
 * Where libpcap's program depends on what happens to lie in the accumulator or in a cell: `byte N & V` reads nothing, cells of
 * `geneve` are read without having been written, and cells of live VLAN tags are given to arithmetic, too.
 */
function isUndefined({ expression, live, link }: Question, programs: readonly CbpfProgram[]): boolean {
  // The cell of a measured header's length, of a tag or of a tunnel can be given to a constant.
  const measured = link.prefix !== undefined || link.family === "pflog";
  const cells = measured || (live && expression.includes("vlan")) || expression.includes("geneve");
  if (cells && /\[|\blen\b|[<>=]/.test(expression)) return true;
  if (/byte \d+ [&|]/.test(expression)) return true;
  if (link.family === "wlan" && overwritesLength(programs[0] as CbpfProgram)) return true;
  return programs.some(readsUnwritten);
}

/** Of 802.11 the length's cell is the first that is stored, in two places; a third is an arithmetic term's. */
function overwritesLength(program: CbpfProgram): boolean {
  const stores = program.filter(({ code }) => code === 0x02);
  return stores.filter(({ k }) => k === stores[0]?.k).length > 2;
}

function readsUnwritten(program: CbpfProgram): boolean {
  try {
    checkCbpf(program);
    return false;
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return error.message.includes("not every path");
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Compares; `seeds` are real packets of a link type. */
export function compare(
  questions: readonly Question[],
  answers: readonly Answer[],
  seeds: (dlt: number) => readonly Uint8Array[],
  packets: number,
): Comparison {
  const result: Comparison = { differences: [], compiled: 0, refused: 0, packets: 0 };
  for (const [index, question] of questions.entries()) {
    const answer = answers[index] as Answer;
    const differ = (what: Difference["what"], detail: string): void => {
      result.differences.push({ what, question, detail });
    };
    const ours = compile(question, { compat: "libpcap" });
    if (ours instanceof BpfError) {
      result.refused++;
      if ("program" in answer) differ("refused", ours.message);
      continue;
    }
    result.compiled++;
    if ("error" in answer) {
      differ("accepted", answer.error);
      continue;
    }
    const plain = compile(question, { compat: "libpcap", optimize: false }) as CompiledFilter;
    const better = compile(question, {});
    const betterPlain = compile(question, { optimize: false });
    if (better instanceof BpfError || betterPlain instanceof BpfError) {
      differ("refused", `without compat: ${(better as BpfError).message}`);
      continue;
    }
    const vague = isUndefined(question, [answer.program, ours.cbpf, plain.cbpf]);
    const differs = vague || better.warnings.some((warning) => warning.code === "compat");
    const usual = seeds(question.link.dlt);
    const tests = [
      ...usual.slice(0, 8),
      ...straddling(answer.program, [...plainSeeds(), ...usual], packets, index),
      ...straddling(ours.cbpf, [...plainSeeds(), ...usual], packets >> 1, index + 1),
      ...straddling(better.cbpf, [...plainSeeds(), ...usual], packets >> 2, index + 1),
    ];
    for (const packet of tests) {
      result.packets++;
      const expected = verdict(answer.program, packet);
      const own = verdict(plain.cbpf, packet);
      const read = verdict(betterPlain.cbpf, packet);
      if (own !== expected && !vague)
        differ("verdict", `${expected} expected, ${own} found on ${hex(packet)}`);
      else if (verdict(ours.cbpf, packet) !== own || verdict(better.cbpf, packet) !== read) {
        differ("optimised", `on ${hex(packet)}`);
      } else if (!differs && read !== expected)
        differ("reading", `no warning, ${expected} expected on ${hex(packet)}`);
      else continue;
      break;
    }
  }
  return result;
}
