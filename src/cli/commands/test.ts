import { BpfError } from "../../errors.ts";
import { Machine } from "../../machine/index.ts";
import {
  type ChainResult,
  chainPrograms,
  placeTailCalls,
  runChain,
  taggedTailCalls,
  testChains,
} from "../../testing/index.ts";
import { type Command, type Invocation, onlyPositional, text } from "../command.ts";
import { ENGINE_OPTIONS, machineOptions } from "../engine.ts";
import { STRICT_OPTION, readObject } from "../object-file.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { TARGET_OPTIONS, targetOf } from "../target.ts";
import type { Terminal } from "../terminal.ts";

export const testCommand: Command = {
  name: "test",
  usage: "OBJECT [-t PATTERN]",
  description:
    "Runs tests that are BPF programs themselves, as Cilium writes them: sections TYPE/test/NAME/pktgen (makes a packet),\n" +
    "setup (runs the code under test) and check (looks at the result). Needs no kernel and no root. Exit status 1 if a test fails.",
  options: {
    tests: {
      type: "string",
      short: "t",
      value: "PATTERN",
      help: "only tests whose name matches this expression",
    },
    ...ENGINE_OPTIONS,
    ...TARGET_OPTIONS,
    ...STRICT_OPTION,
    verbose: { type: "boolean", short: "v", help: "show what tests that passed have logged too" },
  },
  examples: [
    ["skep test nodeport_test.o", "run all tests of an object"],
    ["skep test nodeport_test.o -t '^tc_snat' --json", "some of them, as JSON"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "test", "an object file");
  const spec = await readObject(path, values);
  const chains = testChains(spec).filter(({ name }) => patternOf(values).test(name));
  if (chains.length === 0) {
    throw new BpfError(
      "usage",
      `${path}: it has no tests${text(values, "tests") === undefined ? " (sections such as tc/test/NAME/check)" : " of that name"}`,
    );
  }
  const machine = await Machine.create({ ...machineOptions(values), clock: "virtual" });
  const tailCalls = taggedTailCalls(spec);
  const programs = chainPrograms(chains, tailCalls);
  const loaded = await machine.load(spec, { programs, ...(await targetOf(values)) });
  placeTailCalls(tailCalls, loaded);
  const results: ChainResult[] = [];
  for (const chain of chains) {
    const result = runChain(chain, loaded);
    results.push(result);
    if (!json) show(result, terminal, values["verbose"] === true);
  }
  const count = (...statuses: ChainResult["status"][]): number =>
    results.filter(({ status }) => statuses.includes(status)).length;
  const totals = { passed: count("pass"), failed: count("fail", "error"), skipped: count("skip") };
  if (json) {
    const tests = results.map(({ error, ...rest }) => ({
      ...rest,
      ...(error === undefined ? {} : { error: error.toJSON() }),
    }));
    terminal.line(toJson({ version: JSON_VERSION, object: path, ...totals, tests }));
  } else {
    terminal.line(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
  }
  return totals.failed === 0 ? 0 : 1;
}

function patternOf(values: Invocation["values"]): RegExp {
  const pattern = text(values, "tests") ?? "";
  try {
    return new RegExp(pattern);
  } catch {
    throw new BpfError("usage", `test: '${pattern}' is no regular expression`);
  }
}

const MARKS = {
  pass: ["green", "ok"],
  fail: ["red", "FAILED"],
  error: ["red", "ERROR"],
  skip: ["yellow", "skipped"],
} as const;

function show(
  { name, status, tests, log, error }: ChainResult,
  { line, style }: Terminal,
  verbose: boolean,
): void {
  const mark = (of: ChainResult["status"]): string => style(MARKS[of][0], MARKS[of][1]);
  line(`${mark(status)} ${name}`);
  if (error !== undefined) line(`    ${error.message}`);
  for (const test of tests) {
    if (tests.length > 1 || test.status !== "pass") line(`  ${mark(test.status)} ${test.name}`);
    if (verbose || test.status !== "pass") for (const said of test.log) line(`    ${said}`);
  }
  if (verbose || status !== "pass") for (const said of log) line(`    ${said}`);
}
