/** The shape of a command, the parsing of its arguments, and its `--help`. */
import { parseArgs } from "node:util";
import { BpfError } from "../errors.ts";
import { nearest } from "./nearest.ts";
import type { Terminal } from "./terminal.ts";

export interface Option {
  readonly type: "string" | "boolean";
  readonly short?: string;
  /** Name of the value in the help: FILE, N. */
  readonly value?: string;
  readonly multiple?: boolean;
  /** The value may be left out: a word that follows and does not match is none. The value is then "". */
  readonly optional?: RegExp;
  readonly help: string;
}

export type Options = Readonly<Record<string, Option>>;

/** Values as given: booleans, strings, or lists of strings. */
export type Values = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

export interface Invocation {
  readonly values: Values;
  readonly positionals: readonly string[];
  readonly terminal: Terminal;
  readonly json: boolean;
}

export interface Command {
  readonly name: string;
  /** Positional arguments as the usage line shows them. */
  readonly usage: string;
  /** A paragraph or two. */
  readonly description: string;
  readonly options: Options;
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** The exit status. */
  run(invocation: Invocation): Promise<number>;
}

/** What every command takes. */
export const COMMON_OPTIONS: Options = {
  json: { type: "boolean", help: "print JSON, errors included" },
  debug: { type: "boolean", help: "show stack traces of errors" },
  help: { type: "boolean", short: "h", help: "show this text" },
};

export function parseCommandLine(
  command: Command,
  args: readonly string[],
): Pick<Invocation, "values" | "positionals"> {
  const options = { ...command.options, ...COMMON_OPTIONS };
  const config = Object.fromEntries(
    Object.entries(options).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short === undefined ? {} : { short }), ...(multiple === undefined ? {} : { multiple }) },
    ]),
  );
  try {
    return parseArgs({
      args: withoutMissing(args, options),
      options: config,
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    throw new BpfError("usage", explain(error, command, Object.keys(options)));
  }
}

/** Options whose value is left out get an empty one. */
function withoutMissing(args: readonly string[], options: Options): string[] {
  return args.map((arg, index) => {
    const optional = arg.startsWith("--") ? options[arg.slice(2)]?.optional : undefined;
    return optional === undefined || optional.test(args[index + 1] ?? "") ? arg : `${arg}=`;
  });
}

function explain(error: unknown, { name }: Command, known: readonly string[]): string {
  const message = error instanceof Error ? error.message : String(error);
  const unknown = /Unknown option '(-+)([^']*)'/.exec(message);
  const see = `see 'skep ${name} --help'`;
  if (unknown !== null) {
    const guess = unknown[1] === "--" ? nearest(unknown[2] ?? "", known) : undefined;
    const hint = guess === undefined ? see : `did you mean --${guess}?`;
    return `${name}: no option ${unknown[1]}${unknown[2]}; ${hint}`;
  }
  return `${name}: ${(message.split(/\.\s/)[0] ?? message).replace(/\.$/, "")}; ${see}`;
}

export function helpOf(command: Command, terminal: Terminal): string {
  const { style } = terminal;
  const rows = Object.entries({ ...command.options, ...COMMON_OPTIONS }).map(
    ([name, { short, value, help }]) => {
      const flags = `${short === undefined ? "    " : `-${short}, `}--${name}${value === undefined ? "" : ` ${value}`}`;
      return [flags, help] as const;
    },
  );
  const width = Math.max(...rows.map(([flags]) => flags.length)) + 2;
  return [
    `${style("bold", "Usage:")} skep ${command.name} ${command.usage}`,
    "",
    command.description,
    "",
    style("bold", "Options:"),
    ...rows.map(([flags, help]) => `  ${flags.padEnd(width)}${help}`),
    "",
    style("bold", "Examples:"),
    ...command.examples.flatMap(([line, what]) => [`  ${style("dim", `# ${what}`)}`, `  ${line}`]),
    "",
  ].join("\n");
}

/** An option that is a string, or undefined. */
export function text(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" ? value : undefined;
}

/** An option that is a whole number within bounds. */
export function integer(values: Values, name: string, min: number, max: number): number | undefined {
  const value = text(values, name);
  if (value === undefined) return undefined;
  const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new BpfError("usage", `--${name}: expected a whole number from ${min} to ${max}, not '${value}'`);
}

/** An option that is one of a few words. */
export function choice<T extends string>(values: Values, name: string, choices: readonly T[]): T | undefined {
  const value = text(values, name);
  if (value === undefined) return undefined;
  const found = choices.find((one) => one === value);
  if (found !== undefined) return found;
  throw new BpfError("usage", `--${name}: '${value}' is none of ${choices.join(", ")}`);
}

/** The only positional argument of a command that needs one. */
export function onlyPositional(
  { positionals }: Pick<Invocation, "positionals">,
  command: string,
  what: string,
): string {
  const [first, ...rest] = positionals;
  if (first === undefined)
    throw new BpfError("usage", `${command}: ${what} is missing; see 'skep ${command} --help'`);
  if (rest.length > 0)
    throw new BpfError("usage", `${command}: one at a time, also given: ${rest.join(" ")}`);
  return first;
}
