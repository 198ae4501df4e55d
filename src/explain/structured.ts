/**
 * The log of a rejection in the shape of Linux 7.3: "Verification failed: CATEGORY: PROBLEM", and sections Reason, At, Causal path and
 * Suggestion, each place with its source and instruction context. Sections, labels, widths and what belongs into the causal path
 * follow kernel/bpf/diagnostics.c of mainline (commit 09a0c2d67864, July 2026); the sentences are ours, since the kernel's come from
 * its own sites of rejection.
 */
import type { RejectionClass } from "./classes.ts";
import { isBranch } from "./effects.ts";
import type { Explanation } from "./explain.ts";
import { textOf } from "./instructions.ts";
import type { OriginEvent } from "./origin.ts";
import type { FailingPath, PathStep } from "./path.ts";
import { excerptOf, placeOf } from "./place.ts";
import { eventWords } from "./story.ts";

/** The kernel's categories. */
const CATEGORY: Readonly<Record<RejectionClass, string>> = {
  "invalid-pointer": "Register Type Safety",
  "lost-provenance": "Register Type Safety",
  "null-check": "Register Type Safety",
  uninitialised: "Register Type Safety",
  "invalid-context": "Memory Safety",
  "missing-range": "Memory Safety",
  "packet-bounds": "Memory Safety",
  stack: "Memory Safety",
  misaligned: "Memory Safety",
  "read-only": "Memory Safety",
  "leaked-reference": "Resource Lifetime Safety",
  "use-after-release": "Resource Lifetime Safety",
  "object-state": "Resource Lifetime Safety",
  "type-mismatch": "Call Type Safety",
  "untrusted-pointer": "Call Type Safety",
  "return-value": "Call Type Safety",
  "context-region": "Execution Context Safety",
  "too-complex": "Program Structure",
  malformed: "Program Structure",
  "call-not-allowed": "Policy",
  "pointer-leak": "Policy",
  speculation: "Policy",
  capability: "Policy",
  other: "Verifier Error",
};

const WIDTH = 100;
/** Columns for a source line with its number. */
const SOURCE_WIDTH = 88;
const TAB = 8;
const AROUND = 2;
const MOST_EVENTS = 64;

function wrap(text: string, first: string, next: string): string[] {
  const lines: string[] = [];
  let prefix = first;
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && prefix.length + line.length + 1 + word.length > WIDTH) {
      lines.push(prefix + line);
      prefix = next;
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(prefix + line);
  return lines;
}

function expand(text: string): string {
  let out = "";
  for (const char of text) out += char === "\t" ? " ".repeat(TAB - (out.length % TAB)) : char;
  return out;
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 3))}...`;
}

/** A place with what stands around it, and a remark under its line. */
function source({ program }: FailingPath, slot: number, label: string, remark: string): string[] {
  const place = placeOf(program, slot);
  const lines: string[] = [];
  if (place.line === 0) {
    lines.push(`  insn ${slot}`, ...wrap(`${label}: ${remark}`, "       | ^-- ", "       |     "));
  } else {
    const where = `${place.file}:${place.line}:${place.column}`;
    lines.push(place.function === "" ? `  ${where}` : `  ${place.function} @ ${where}`, "  Source context:");
    const known = new Map(excerptOf(program, place, AROUND).map(({ line, text }) => [line, text]));
    const width = String(place.line + AROUND).length;
    const indent = Math.min(expand(place.text).search(/\S|$/), SOURCE_WIDTH - width - 8);
    for (let line = place.line - AROUND; line <= place.line + AROUND; line++) {
      if (line <= 0) continue;
      const prefix = `${line === place.line ? ">>> " : "    "}${String(line).padStart(width)} | `;
      lines.push(`  ${prefix}${cut(expand(known.get(line) ?? "..."), SOURCE_WIDTH - prefix.length)}`);
      if (line !== place.line) continue;
      const margin = `  ${" ".repeat(width + 4)} | ${" ".repeat(indent)}`;
      lines.push(...wrap(`${label}: ${remark}`, `${margin}^-- `, `${margin}    `));
    }
  }
  lines.push("  Instruction context:", ...instructions(program, slot));
  return lines;
}

function instructions(program: FailingPath["program"], slot: number): string[] {
  const width = String(program.instructions.length - 1).length;
  const lines: string[] = [];
  for (let at = slot - AROUND; at <= slot + AROUND; at++) {
    const instruction = program.instructions[at];
    // The second half of a wide constant is no instruction.
    if (instruction === undefined || program.instructions[at - 1]?.opcode === 0x18) continue;
    lines.push(`  ${at === slot ? ">>> " : "    "}${String(at).padStart(width)} | ${textOf(program, at)}`);
  }
  return lines;
}

/** Where the value changed, and which way conditional jumps went meanwhile. */
function causalPath(path: FailingPath, origin: readonly OriginEvent[], from: number): string[][] {
  const events: string[][] = [];
  const byStep = new Map<number, OriginEvent[]>();
  for (const event of origin) byStep.set(event.step, [...(byStep.get(event.step) ?? []), event]);
  const last = path.steps.length - 1;
  for (let index = Math.max(0, from); index < last; index++) {
    const step = path.steps[index] as PathStep;
    const own = byStep.get(index) ?? [];
    if (isBranch(step)) {
      const jumped = path.steps[index + 1]?.slot !== step.slot + 1;
      const told = own.map((event) => `; ${eventWords(path, event)}`).join("");
      events.push(
        source(
          path,
          step.slot,
          "branch",
          `the condition is ${jumped ? "true, the jump is taken" : "false, no jump"}${told}`,
        ),
      );
      continue;
    }
    for (const event of own) events.push(source(path, step.slot, labelOf(event), eventWords(path, event)));
  }
  return events;
}

function labelOf({ kind }: OriginEvent): string {
  if (kind === "invalidated" || kind === "clobbered") return "invalidated";
  return kind === "spill" ? "spilled" : "update";
}

function joined(events: readonly (readonly string[])[]): string[] {
  const half = MOST_EVENTS / 2;
  const shown =
    events.length <= MOST_EVENTS
      ? events
      : [
          ...events.slice(0, half),
          [`  ${events.length - MOST_EVENTS} intermediate causal-history events omitted`],
          ...events.slice(-half),
        ];
  return shown.flatMap((lines, index) => (index === 0 ? lines : ["", ...lines]));
}

/**
 * An explanation in that shape. `origin` is where the value came from; of leaked references, `from` is the step that took them.
 */
export function structuredText(
  path: FailingPath,
  explanation: Explanation,
  origin: readonly OriginEvent[],
): string {
  const { class: id, title, cause, missing, code, message, at } = explanation;
  const stopped = path.trace?.stoppedAt ?? -1;
  const slot = stopped >= 0 ? stopped : (at?.slot ?? -1);
  const lines = [
    message,
    "",
    `Verification failed: ${CATEGORY[id]}: ${title.charAt(0).toUpperCase()}${title.slice(1)}`,
  ];
  lines.push("", "Reason:", ...wrap(cause, "  ", "  "));
  if (slot >= 0 && slot < path.program.instructions.length)
    lines.push("", "At:", ...source(path, slot, "error", title));
  const taken = id === "leaked-reference" ? path.steps.findIndex((step) => step.slot === at?.slot) : -1;
  const first = taken >= 0 ? taken : (origin[0]?.step ?? -1);
  const events = causalPath(path, origin, first);
  if (taken >= 0 && at !== undefined)
    events.unshift(source(path, at.slot, "acquired", "the reference is taken here"));
  if (origin.length > 0 || taken >= 0) {
    lines.push(
      "",
      "Causal path:",
      ...(events.length === 0 ? ["  no retained diagnostic events on this path"] : joined(events)),
    );
  }
  lines.push(
    "",
    "Suggestion:",
    ...wrap(`${missing.charAt(0).toUpperCase()}${missing.slice(1)}.`, "  ", "  "),
  );
  for (const text of code === "" ? [] : code.split("\n")) lines.push(`    ${text}`);
  return `${lines.join("\n")}\n`;
}
