/** A single run of a program that takes no packets: `skep run OBJECT -p PROGRAM --args JSON`. */
import { BpfError } from "../../errors.ts";
import type { EventInput, Program, RunResult } from "../../machine/index.ts";
import { type Values, text } from "../command.ts";
import { type MapReport, renderMaps, renderValue } from "../maps.ts";
import type { Terminal } from "../terminal.ts";

/** What `--input`, `--args` and `--context` say, together. */
export function eventInput(values: Values): EventInput {
  const parse = (option: string): unknown => {
    const given = text(values, option);
    if (given === undefined) return undefined;
    try {
      return JSON.parse(given) as unknown;
    } catch (cause) {
      throw new BpfError("usage", `--${option}: no JSON: ${(cause as Error).message}`, { cause });
    }
  };
  const whole = parse("input") ?? {};
  if (typeof whole !== "object" || whole === null || Array.isArray(whole)) {
    throw new BpfError("usage", '--input: needs an object, such as {"address": "10.0.0.1:80"}');
  }
  const args = parse("args");
  const context = parse("context");
  return {
    ...whole,
    ...(args === undefined ? {} : { args }),
    ...(context === undefined ? {} : { context }),
  } as EventInput;
}

/** Parts of a result that are not the same for all types. */
const EXTRA = ["address", "source", "sysctl", "sockopt", "reply", "data", "flowKeys", "argument"] as const;

export function extraOf(result: RunResult): Record<string, unknown> {
  return Object.fromEntries(
    EXTRA.filter((key) => result[key] !== undefined).map((key) => [key, result[key]]),
  );
}

export function showEvent(
  program: Program,
  result: RunResult,
  maps: readonly MapReport[],
  trace: readonly string[],
  terminal: Terminal,
  all: boolean,
): void {
  const { line, style } = terminal;
  line(`${style("bold", program.name)}  ${program.image.section ?? ""}  ${program.hook.title}`);
  const named = result.returnName === String(result.returnValue) ? "" : `  ${result.returnName}`;
  line(`returned ${result.returnValue}${named}  in ${(result.durationNs / 1000).toFixed(1)} us`);
  for (const [key, value] of Object.entries(extraOf(result))) line(`${key}: ${renderValue(value)}`);
  const fields = Object.entries(result.context).filter(([, value]) =>
    Array.isArray(value) ? value.some((one) => one !== 0) : Number(value) !== 0,
  );
  if (fields.length > 0) {
    line();
    line(style("bold", `context ${program.hook.context.struct}`));
    for (const [name, value] of fields) line(`  ${name} = ${renderValue(value)}`);
  }
  for (const row of trace) line(`trace: ${row}`);
  for (const row of renderMaps(maps, terminal, { all })) line(row);
}
