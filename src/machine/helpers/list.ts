/** What helpers and kernel functions there are, and which of them a machine has: from the tables. */
import { CORE_HELPERS } from "../../core/index.ts";
import {
  HELPERS,
  KFUNCS,
  type KfuncFlag,
  PROGRAM_TYPES,
  type ProgramType,
  allowedHelpers,
  prototypeOf,
} from "../../uapi/index.ts";
import { ABSENT_KFUNCS } from "../kfuncs/absent.ts";
import { HOST_KFUNCS } from "../kfuncs/table.ts";
import { HOST_HELPERS } from "./table.ts";

/** A helper of Linux 6.18. */
export interface HelperInfo {
  readonly id: number;
  readonly name: string;
  /** "core": in WebAssembly; "host": in TypeScript; "missing": only machine.mockHelper can answer it. */
  readonly status: "core" | "host" | "missing";
  readonly returns: string;
  readonly args: readonly string[];
  readonly gplOnly: boolean;
  /** Types of programs that may call it. */
  readonly programTypes: readonly ProgramType[];
}

/** A kernel function that programs may call. */
export interface KfuncInfo {
  readonly name: string;
  /** "missing": only machine.registerKfunc can answer it. */
  readonly status: "host" | "missing";
  /** Why it is missing. */
  readonly why?: string;
  readonly returns: string;
  readonly args: readonly string[];
  readonly flags: readonly KfuncFlag[];
}

/** All helpers of Linux 6.18 in the order of their ids. */
export function listHelpers(): readonly HelperInfo[] {
  const core = new Set<string>(CORE_HELPERS.map(({ name }) => name));
  const host = new Set<string>(HOST_HELPERS.map(({ name }) => name));
  const types = PROGRAM_TYPES.map(({ name }) => name);
  return HELPERS.map(({ id, name }) => {
    const prototype = prototypeOf(id, { type: "socket_filter" });
    return {
      id,
      name,
      status: core.has(name) ? "core" : host.has(name) ? "host" : "missing",
      returns: prototype?.returns ?? "",
      args: prototype?.args ?? [],
      gplOnly: prototype?.gplOnly === true,
      programTypes: types.filter((type) => allowedHelpers({ type }).has(id)),
    };
  });
}

/** All kernel functions of the table, by name. */
export function listKfuncs(): readonly KfuncInfo[] {
  const host = new Set(HOST_KFUNCS.map(({ name }) => name));
  return KFUNCS.map(({ name, returns, args, flags = [] }) => ({
    name,
    status: host.has(name) ? "host" : "missing",
    ...(ABSENT_KFUNCS[name] === undefined ? {} : { why: ABSENT_KFUNCS[name] }),
    returns,
    args,
    flags,
  }));
}

/** docs/helpers.md. */
export function helpersMarkdown(): string {
  const helpers = listHelpers();
  const kfuncs = listKfuncs();
  const count = (rows: readonly { readonly status: string }[]): number =>
    rows.filter(({ status }) => status !== "missing").length;
  const mark = (status: string): string => (status === "missing" ? "no" : status);
  return [
    "# Helpers and kernel functions",
    "",
    'Made from the tables by `skep helpers --markdown`; a test checks that it is current. "core" runs in WebAssembly, "host" in',
    'TypeScript. Whatever says "no" can be answered by a test: `machine.mockHelper(name, fn)`, `machine.registerKfunc(name, fn)`.',
    "What helpers ask of the outside (interfaces, routes, sockets, processes and their stacks, control groups, clocks) is set up with",
    "`Machine.create({ world: { ... } })` and read and changed through `machine.world`; what is not there is an error that says how",
    "to give it. Timers and work queues run when the clock comes to them: `machine.advance(ns)`.",
    "",
    `## Helpers: ${count(helpers)} of ${helpers.length}`,
    "",
    "| id | helper | here | program types |",
    "| --- | --- | --- | --- |",
    ...helpers.map(({ id, name, status, programTypes }) => {
      const types = programTypes.length > 20 ? `${programTypes.length} types` : programTypes.join(" ");
      return `| ${id} | ${name} | ${mark(status)} | ${types} |`;
    }),
    "",
    `## Kernel functions: ${count(kfuncs)} of ${kfuncs.length}`,
    "",
    "| function | here | flags |",
    "| --- | --- | --- |",
    ...kfuncs.map(({ name, status, flags }) => `| ${name} | ${mark(status)} | ${flags.join(" ")} |`),
    "",
    'What says "no" is not there for a reason:',
    "",
    ...kfuncs.flatMap(({ name, why }) => (why === undefined ? [] : [`- ${name}: ${why}`])),
    "",
  ].join("\n");
}
