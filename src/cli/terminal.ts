/** Where a command writes: colour and progress only on a terminal. */
import { styleText } from "node:util";
import { ERROR, OUTPUT, isTerminal, writeError, writeOut } from "./standard.ts";

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

export interface Terminal {
  /** Writes to standard output; a line break is added. */
  line(text?: string): void;
  write(text: string): void;
  /** Writes a line to standard error. */
  note(text: string): void;
  style(style: Style, text: string): string;
  /** A progress bar on standard error; undefined in a pipe. */
  progress(label: string): Progress | undefined;
}

export interface Progress {
  /** `done` from 0 to 1; undefined when the total is unknown. */
  update(done: number | undefined, detail: string): void;
  end(): void;
}

/** Redrawing more often than this costs time and shows nothing. */
const REDRAW_MS = 100;
const BAR_WIDTH = 24;

export function processTerminal(): Terminal {
  let colour: boolean | undefined;
  return {
    line: (text = "") => writeOut(`${text}\n`),
    write: writeOut,
    note: (text) => writeError(`${printable(text)}\n`),
    style(style, text) {
      colour ??= !process.env["NO_COLOR"] && isTerminal(OUTPUT);
      return colour ? styleText(style, text, { validateStream: false }) : text;
    },
    progress: (label) => (isTerminal(ERROR) ? bar(label) : undefined),
  };

  function bar(label: string): Progress {
    let last = 0;
    return {
      update(done, detail) {
        const now = Date.now();
        if (now - last < REDRAW_MS) return;
        last = now;
        const filled = Math.round((done ?? 0) * BAR_WIDTH);
        const drawn = done === undefined ? "" : `[${"#".repeat(filled)}${".".repeat(BAR_WIDTH - filled)}] `;
        writeError(`\r\x1b[K${label} ${drawn}${detail}`);
      },
      end: () => writeError("\r\x1b[K"),
    };
  }
}

/** Foreign text in a message must not steer the terminal: control characters but line breaks become escapes. */
const printable = (text: string): string =>
  text.replaceAll(/\p{Cc}/gu, (char) =>
    char === "\n" || char === "\t" ? char : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );

/** Columns of text under a head; numbers (`right`) are aligned to the right. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { right = [] }: { right?: readonly number[] } = {},
): string[] {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const render = (row: readonly string[]): string =>
    row
      .map((cell, column) => {
        const width = widths[column] as number;
        return right.includes(column) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd();
  return [render(head), ...rows.map(render)];
}

/** "1.23 M" for 1,234,567; whole numbers below a thousand as they are. */
export function count(value: number): string {
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ] as const) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return String(Math.round(value * 100) / 100);
}

/** "4.5 ms", "120 µs": a duration given in milliseconds. */
export function duration(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toPrecision(3)} s`;
  if (ms >= 1) return `${ms.toPrecision(3)} ms`;
  return `${Math.max(1, Math.round(ms * 1000))} µs`;
}
