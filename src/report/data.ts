/** What the page of a report is made from: source, instructions, graph, visits with their states, the failing path. Plain data. */
import { type Explanation, placeOf, textOf } from "../explain/index.ts";
import {
  type ProgramVerdict,
  type StateSnapshot,
  type VerifierProgram,
  type VerifierStatistics,
  type VerifierOptions,
  verify,
} from "../verifier/index.ts";
import { controlFlow } from "./graph.ts";
import { type Route, layout } from "./layout.ts";

export interface ReportInstruction {
  readonly slot: number;
  readonly text: string;
  /** Index into the report's source lines; -1 if there is none. */
  readonly line: number;
  /** How often the walk came here. */
  readonly visits: number;
}

export interface ReportLine {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

export interface ReportBlock {
  readonly id: number;
  readonly first: number;
  readonly last: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Two lines: slots, and where it comes from. */
  readonly label: readonly string[];
  readonly visits: number;
}

export interface ReportGraph {
  readonly function: string;
  readonly width: number;
  readonly height: number;
  readonly blocks: readonly ReportBlock[];
  readonly routes: readonly (Route & { readonly kind: "jump" | "fall" })[];
}

/**
 * One visit that is shown, as a row. States are numbers of strings, "R1=ctx()", in {@link ProgramReport.strings}. Most strings are those of the visit
 * before in the list: how many there are the same at the beginning and at the end, then the ones between.
 */
export type ReportVisit = readonly [
  visit: number,
  slot: number,
  parent: number,
  kept: 0 | 1,
  frame: number,
  state: readonly number[],
];

export interface ReportEnd {
  readonly from: number;
  readonly kind: "exit" | "pruned";
  readonly slot: number;
  readonly by: number;
}

export interface ProgramReport {
  readonly program: string;
  readonly section: string;
  readonly verdict: ProgramVerdict["verdict"];
  readonly errno: string;
  readonly reason: string;
  readonly statistics: VerifierStatistics;
  readonly explanation: Explanation | undefined;
  readonly lines: readonly ReportLine[];
  readonly instructions: readonly ReportInstruction[];
  readonly graphs: readonly ReportGraph[];
  readonly strings: readonly string[];
  readonly visits: readonly ReportVisit[];
  readonly ends: readonly ReportEnd[];
  /** All visits, those that are not shown too. */
  readonly visitCount: number;
  /** Visits of the failing path that are shown, oldest first. */
  readonly path: readonly number[];
  readonly log: string;
}

/** Visits whose states are kept: the first ones, and the last of the failing path. */
const MOST_VISITS = 4000;
const MOST_PATH = 1000;
const MOST_LOG = 200_000;

/** Makes the data of one program. */
export function reportOf(
  input: VerifierProgram,
  verdict: ProgramVerdict,
  section: string,
  explanation: Explanation | undefined,
  options: VerifierOptions = {},
): ProgramReport {
  const first = verify(input, { ...options, logLevel: 0, trace: {} });
  const last = first.trace?.last ?? -1;
  const path: number[] = [];
  for (let visit = last; visit >= 0 && path.length < MOST_PATH; visit = first.trace?.parents[visit] ?? -1)
    path.push(visit);
  path.reverse();
  const onPath = new Set(path);
  const long = first.errno === "E2BIG";
  // A walk of a million instructions is not walked again: its states say little.
  const second = long
    ? first
    : verify(input, {
        ...options,
        logLevel: 0,
        trace: { wanted: (visit) => visit < MOST_VISITS || onPath.has(visit) },
      });
  const { trace } = second;
  const strings = new Strings();
  const visits: ReportVisit[] = [];
  let previous: readonly number[] = [];
  for (const [visit, snapshot] of trace?.states ?? []) {
    const state = stateStrings(strings, snapshot);
    visits.push([
      visit,
      trace?.slots[visit] ?? 0,
      trace?.parents[visit] ?? -1,
      trace?.kept.has(visit) === true ? 1 : 0,
      snapshot.frames.length - 1,
      changed(previous, state),
    ]);
    previous = state;
  }
  const shown = new Set(visits.map(([visit]) => visit));
  const counts = new Map<number, number>();
  for (const slot of trace?.slots ?? []) counts.set(slot, (counts.get(slot) ?? 0) + 1);
  const lines = new Lines();
  return {
    program: verdict.program,
    section,
    verdict: verdict.verdict,
    errno: verdict.errno ?? "",
    reason: verdict.reason,
    statistics: verdict.statistics,
    explanation,
    instructions: instructionsOf(input, lines, counts),
    lines: lines.all,
    graphs: graphsOf(input, counts),
    visits,
    strings: strings.all,
    ends: (trace?.ends ?? []).filter(({ from }) => shown.has(from)),
    visitCount: trace?.slots.length ?? 0,
    path: path.filter((visit) => shown.has(visit)),
    log:
      verdict.log.length > MOST_LOG
        ? `... the last ${MOST_LOG} characters ...\n${verdict.log.slice(-MOST_LOG)}`
        : verdict.log,
  };
}

/** Each string once. */
class Strings {
  readonly all: string[] = [];
  readonly #known: Map<string, number> = new Map();

  number(text: string): number {
    let number = this.#known.get(text);
    if (number === undefined) {
      number = this.all.length;
      this.all.push(text);
      this.#known.set(text, number);
    }
    return number;
  }
}

function stateStrings(strings: Strings, { frames, references }: StateSnapshot): number[] {
  const texts: string[] = [];
  const frame = frames.at(-1);
  for (const [regno, reg] of (frame?.registers ?? []).entries())
    if (reg !== undefined) texts.push(`R${regno}=${reg.text}`);
  for (const [index, slot] of (frame?.slots ?? []).entries()) {
    if (slot !== undefined) texts.push(`fp-${(index + 1) * 8}=${slot.text}`);
  }
  for (const { id, index, kind } of references) texts.push(`held=${kind} ${id}, taken at ${index}`);
  return texts.map((text) => strings.number(text));
}

function changed(previous: readonly number[], state: readonly number[]): number[] {
  const shorter = Math.min(previous.length, state.length);
  let begin = 0;
  while (begin < shorter && previous[begin] === state[begin]) begin++;
  let end = 0;
  while (end < shorter - begin && previous.at(-1 - end) === state.at(-1 - end)) end++;
  return [begin, end, ...state.slice(begin, state.length - end)];
}

/** Source lines in the order in which instructions first come from them. */
class Lines {
  readonly all: ReportLine[] = [];
  readonly #known: Map<string, number> = new Map();

  number(file: string, line: number, text: string): number {
    const key = `${file}:${line}`;
    let number = this.#known.get(key);
    if (number === undefined) {
      number = this.all.length;
      this.all.push({ file, line, text });
      this.#known.set(key, number);
    }
    return number;
  }
}

function instructionsOf(
  input: VerifierProgram,
  lines: Lines,
  counts: ReadonlyMap<number, number>,
): ReportInstruction[] {
  const rows: ReportInstruction[] = [];
  for (let slot = 0; slot < input.instructions.length; slot++) {
    const { file, line, text } = placeOf(input, slot);
    const map = input.maps.get(slot)?.name;
    const plain = textOf(input, slot).replace(/^\([0-9a-f]{2}\) /, "");
    rows.push({
      slot,
      text: map === undefined ? plain : plain.replace(/= 0x[0-9a-f]+$/, `= map[${map}]`),
      line: line === 0 ? -1 : lines.number(file, line, text),
      visits: counts.get(slot) ?? 0,
    });
    if (input.instructions[slot]?.opcode === 0x18) slot++;
  }
  return rows;
}

const CHARACTER = 6.3;
const LABEL = 34;

function graphsOf(input: VerifierProgram, counts: ReadonlyMap<number, number>): ReportGraph[] {
  const starts = (input.functionInfo ?? []).map(({ slot }) => slot);
  const { blocks, edges } = controlFlow(input.instructions, starts.length === 0 ? [0] : starts);
  return (starts.length === 0 ? [0] : starts).map((start, index): ReportGraph => {
    const own = blocks.filter((block) => block.function === index);
    const ids = new Set(own.map(({ id }) => id));
    const inside = edges.filter(({ from, to }) => ids.has(from) && ids.has(to));
    const labels = new Map(own.map((block) => [block.id, labelOf(input, block.first, block.last)]));
    const nodes = own.map(({ id }) => {
      const label = labels.get(id) ?? [];
      return {
        id,
        width: 2 * Math.ceil(Math.max(70, ...label.map((text) => text.length * CHARACTER)) / 2) + 16,
        height: 16 + label.length * 14,
      };
    });
    const drawn = layout(nodes, inside);
    const size = new Map(nodes.map((node) => [node.id, node]));
    const at = new Map(drawn.nodes.map((node) => [node.id, node]));
    return {
      function: placeOf(input, start).function,
      width: drawn.width,
      height: drawn.height,
      blocks: own.map(({ id, first, last }) => ({
        id,
        first,
        last,
        x: (at.get(id)?.x ?? 0) - (size.get(id)?.width ?? 0) / 2,
        y: at.get(id)?.y ?? 0,
        width: size.get(id)?.width ?? 0,
        height: size.get(id)?.height ?? 0,
        label: labels.get(id) ?? [],
        visits: counts.get(first) ?? 0,
      })),
      routes: drawn.routes.map((route) => ({
        ...route,
        kind: inside.find(({ from, to }) => from === route.from && to === route.to)?.kind ?? "fall",
      })),
    };
  });
}

/** Slots, and the last source line of the block: where its condition stands. */
function labelOf(input: VerifierProgram, first: number, last: number): string[] {
  const { line, text } = placeOf(input, last);
  const slots = first === last ? String(first) : `${first} to ${last}`;
  if (line === 0) return [slots];
  const source = `${line}: ${text.trim()}`;
  return [slots, source.length > LABEL ? `${source.slice(0, LABEL - 1)}…` : source];
}
