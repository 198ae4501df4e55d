/** An explanation of a rejection as text. */
import { type Explanation, type OriginStep, placeText } from "../../explain/index.ts";
import type { Terminal } from "../terminal.ts";
import { sourceLines } from "./sources.ts";

/** Columns of a line of prose. */
const WIDTH = 100;

/** Breaks a paragraph; lines after the first are indented as the first is. */
function wrap(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(indent + line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(indent + line);
  return lines;
}

/** Tabs as spaces, so that carets stand where they should. */
function expand(text: string): string {
  let out = "";
  for (const char of text) out += char === "\t" ? " ".repeat(8 - (out.length % 8)) : char;
  return out;
}

/** The source around the place, with a caret under the column. */
function showExcerpt({ at }: Explanation, object: string, { line, style }: Terminal): void {
  if (at === undefined || at.line === 0) return;
  const lines = sourceLines(object, at) ?? at.lines;
  const width = String(lines.at(-1)?.line ?? at.line).length;
  for (const row of lines) {
    const number = String(row.line).padStart(width);
    const hit = row.line === at.line;
    line(
      `    ${style(hit ? "bold" : "dim", `${hit ? ">" : " "} ${number} | ${expand(row.text)}`.trimEnd())}`,
    );
    if (!hit) continue;
    const column = Math.max(1, at.column);
    const before = expand(row.text.slice(0, column - 1)).length;
    const rest = expand(row.text).length - before;
    const word = /^[\w.]+(->[\w.]+|\[\w+\])*/.exec(row.text.slice(column - 1))?.[0].length ?? 1;
    line(
      `      ${" ".repeat(width)} | ${" ".repeat(before)}${style("red", "^".repeat(Math.max(1, Math.min(word, rest))))}`,
    );
  }
}

/** More steps than this are cut in the middle. */
const MOST_STEPS = 14;

function showOrigin(steps: readonly OriginStep[], { line, style }: Terminal): void {
  const cut = steps.length > MOST_STEPS ? steps.length - MOST_STEPS : 0;
  let previous = "";
  for (const [index, step] of steps.entries()) {
    if (cut > 0 && index >= MOST_STEPS / 2 && index < MOST_STEPS / 2 + cut) {
      if (index === MOST_STEPS / 2) line(`      ${style("dim", `... ${cut} steps ...`)}`);
      continue;
    }
    const place = placeText(step.place);
    const text = step.place.text.trim();
    if (place !== previous)
      line(`    ${style("cyan", place)}${text === "" ? "" : `  ${style("dim", text)}`}`);
    previous = place;
    for (const [number, part] of wrap(step.what, "").entries()) {
      line(`      ${number === 0 ? String(step.place.slot).padStart(4) + ": " : "      "}${part}`);
    }
  }
}

/** Writes an explanation: cause, source, where the value came from, what to do. `object`: the file, beside which sources may lie. */
export function showExplanation(explanation: Explanation, object: string, terminal: Terminal): void {
  const { line, style } = terminal;
  const { at, subject, origin, missing, where, code, artefact, page, title, cause } = explanation;
  line(
    `  ${style("bold", title)}${at === undefined ? "" : `, ${placeText(at)}${at.function === "" ? "" : ` in ${at.function}()`}`}`,
  );
  showExcerpt(explanation, object, terminal);
  for (const text of wrap(cause, "  ")) line(text);
  if (subject !== undefined && origin.length > 0) {
    line();
    line(
      `  ${style("bold", `Where ${subject.location} came from`)} ${style("dim", subject.value === "" ? "" : `(${subject.location}=${subject.value})`)}`,
    );
    showOrigin(origin, terminal);
  }
  line();
  if (artefact !== undefined) {
    for (const text of wrap(
      `The source looks right, the compiler's code is the problem: ${artefact}.`,
      "  ",
    )) {
      line(style("yellow", text));
    }
  }
  const place =
    where === undefined || where.line === 0 || where.line === at?.line ? "" : ` (${placeText(where)})`;
  for (const [index, text] of wrap(`Missing: ${missing}${place}`, "  ").entries()) {
    line(index === 0 ? text.replace("Missing:", style("bold", "Missing:")) : text);
  }
  if (code !== "") for (const text of code.split("\n")) line(`      ${style("green", text)}`);
  line(`  ${style("dim", `More: ${page}`)}`);
}
