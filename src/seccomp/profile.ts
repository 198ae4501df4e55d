/**
 * Seccomp profiles in JSON: those of OCI's runtime specification, and Docker's, which choose rules by architecture,
 * capability and kernel version. Reading a profile for a machine leaves an ordered list of plain rules.
 *
 * Which rule answers a call: the first unconditional rule of its name if there is one, since it says more than any
 * conditional one (libseccomp does the same); else the first rule whose conditions all hold; else the default action.
 * Several conditions on one argument are alternatives, conditions on different arguments hold together: so runc reads
 * them.
 */
import { BpfError } from "../errors.ts";
import { type SeccompArch, isSyscall, seccompArch } from "./arch.ts";
import { SECCOMP_ACTIONS } from "./data.ts";

export const COMPARISONS = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;
export type Comparison = (typeof COMPARISONS)[number];

/** A condition on an argument; for SCMP_CMP_MASKED_EQ `value` is the mask and `valueTwo` what is left. */
export interface ArgumentCondition {
  readonly index: number;
  readonly op: Comparison;
  readonly value: bigint;
  readonly valueTwo: bigint;
}

/** A rule: names, conditions that hold together, and what is returned. */
export interface SeccompRule {
  readonly names: readonly string[];
  readonly conditions: readonly ArgumentCondition[];
  /** Value of the filter: action and data. */
  readonly value: number;
}

/** A profile as it applies to one machine. */
export interface ResolvedProfile {
  /** The filter's architectures, the machine's own first. */
  readonly arches: readonly SeccompArch[];
  readonly defaultValue: number;
  readonly rules: readonly SeccompRule[];
  /** Oddities: unknown names, architectures that we have no table of. */
  readonly warnings: readonly string[];
}

/** The machine that a profile is read for. */
export interface ProfileTarget {
  /** Any of the architecture's names; default "x86_64". */
  readonly arch?: string | undefined;
  /** Capabilities that the container has: "CAP_SYS_ADMIN", ... Default none. */
  readonly capabilities?: readonly string[] | undefined;
  /** Version of the kernel, "6.18"; default: any, so that all of minKernel's rules apply. */
  readonly kernel?: string | undefined;
}

const EPERM = 1;
const MAX_NAMES = 100_000;

function refuse(where: string, problem: string): BpfError {
  return new BpfError("object", `seccomp profile: ${where}: ${problem}`);
}

type Json = Readonly<Record<string, unknown>>;

function object(value: unknown, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw refuse(where, "it is no object");
  return value as Json;
}

function list(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw refuse(where, "it is no list");
  return value as readonly unknown[];
}

function strings(value: unknown, where: string): readonly string[] {
  return list(value, where).map((item) => {
    if (typeof item !== "string") throw refuse(where, `${JSON.stringify(item)} is no string`);
    return item;
  });
}

/** A whole number from 0 to `maximum`; JSON numbers beyond 2^53 may stand as strings. */
function unsigned(value: unknown, maximum: bigint, where: string): bigint {
  if (value === undefined || value === null) return 0n;
  const whole = typeof value === "number" && Number.isInteger(value);
  const text = typeof value === "string" && /^(?:0x[0-9a-f]+|[0-9]+)$/i.test(value);
  const number = whole || text ? BigInt(value) : -1n;
  if (number < 0n || number > maximum)
    throw refuse(where, `${JSON.stringify(value)} is no number from 0 to ${maximum}`);
  return number;
}

/** The filter's value for an action by its OCI name. */
function actionValue(name: unknown, errno: unknown, fallback: number, where: string): number {
  const alias = name === "SCMP_ACT_KILL" ? "SCMP_ACT_KILL_THREAD" : name;
  const action = SECCOMP_ACTIONS.find((row) => row.oci === alias);
  if (action === undefined) {
    const known = SECCOMP_ACTIONS.map((row) => row.oci).join(", ");
    throw refuse(where, `${JSON.stringify(name)} is no action; these are: ${known}`);
  }
  const takesData = action.name === "ERRNO" || action.name === "TRACE";
  if (!takesData) return action.value;
  const data =
    errno === undefined || errno === null ? fallback : Number(unsigned(errno, 0xffffn, `${where}.errnoRet`));
  return (action.value | data) >>> 0;
}

/** "4.8" as a number that compares. */
function kernelVersion(text: string, where: string): number {
  const match = /^(\d{1,4})\.(\d{1,4})(?:[.\-+].*)?$/.exec(text);
  if (match === null) throw refuse(where, `"${text}" is no kernel version`);
  return Number(match[1]) * 10_000 + Number(match[2]);
}

/**
 * Reads a profile for a machine.
 *
 * @param profile the JSON text, or what it parses to
 * @throws BpfError code "object" for a profile that is none, "usage" for an unknown architecture
 * @example
 * const profile = '{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }] }';
 * resolveProfile(profile, { arch: "x86_64" }).rules.length; // 1
 */
export function resolveProfile(profile: unknown, target: ProfileTarget = {}): ResolvedProfile {
  const json = object(typeof profile === "string" ? parseJson(profile) : profile, "the profile");
  const native = seccompArch(target.arch ?? "x86_64");
  const warnings: string[] = [];
  const defaultErrno = Number(unsigned(json["defaultErrnoRet"] ?? EPERM, 0xffffn, "defaultErrnoRet"));
  const defaultValue = actionValue(json["defaultAction"], defaultErrno, EPERM, "defaultAction");
  const rules = list(json["syscalls"], "syscalls").flatMap((entry, index) => {
    const where = `syscalls[${index}]`;
    const rule = object(entry, where);
    return applies(rule, native, target, where) ? rulesOf(rule, where, warnings) : [];
  });
  return { arches: archesOf(json, native, warnings), defaultValue, rules, warnings };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new BpfError("object", `seccomp profile: it is no JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Docker's archMap names the machine and its sub-architectures; OCI's `architectures` lists all. */
function archesOf(json: Json, native: SeccompArch, warnings: string[]): readonly SeccompArch[] {
  const names = new Set<string>();
  for (const [index, entry] of list(json["archMap"], "archMap").entries()) {
    const map = object(entry, `archMap[${index}]`);
    if (map["architecture"] !== native.oci) continue;
    for (const name of strings(map["subArchitectures"], `archMap[${index}].subArchitectures`))
      names.add(name);
  }
  for (const name of strings(json["architectures"], "architectures")) names.add(name);
  names.delete(native.oci);
  const arches = [native];
  for (const name of names) {
    try {
      arches.push(seccompArch(name));
    } catch {
      warnings.push(`architecture ${name} is left out: we have no table of its system calls`);
    }
  }
  return arches;
}

/** Whether a rule's includes and excludes let it apply to the machine. */
function applies(rule: Json, native: SeccompArch, target: ProfileTarget, where: string): boolean {
  const capabilities = target.capabilities ?? [];
  const kernel = target.kernel === undefined ? Infinity : kernelVersion(target.kernel, "the target's kernel");
  const part = (
    name: "includes" | "excludes",
  ): { arches: readonly string[]; caps: readonly string[]; least: number } => {
    const place = `${where}.${name}`;
    const value = rule[name] === undefined || rule[name] === null ? {} : object(rule[name], place);
    const least = value["minKernel"];
    if (least !== undefined && typeof least !== "string") throw refuse(place, "minKernel is no string");
    return {
      arches: strings(value["arches"], `${place}.arches`),
      caps: strings(value["caps"], `${place}.caps`),
      least: least === undefined || least === "" ? -1 : kernelVersion(least, `${place}.minKernel`),
    };
  };
  const excludes = part("excludes");
  const includes = part("includes");
  if (excludes.arches.includes(native.docker)) return false;
  if (excludes.caps.some((name) => capabilities.includes(name))) return false;
  if (excludes.least >= 0 && kernel >= excludes.least) return false;
  if (includes.arches.length > 0 && !includes.arches.includes(native.docker)) return false;
  if (includes.caps.some((name) => !capabilities.includes(name))) return false;
  return kernel >= includes.least;
}

function rulesOf(rule: Json, where: string, warnings: string[]): SeccompRule[] {
  const single = rule["name"];
  if (single !== undefined && typeof single !== "string") throw refuse(`${where}.name`, "it is no string");
  const names = [
    ...(single === undefined || single === "" ? [] : [single]),
    ...strings(rule["names"], `${where}.names`),
  ];
  if (names.length === 0) throw refuse(where, "it names no system call");
  if (names.length > MAX_NAMES) throw refuse(where, `it names more than ${MAX_NAMES} system calls`);
  for (const name of names) {
    if (!isSyscall(name)) warnings.push(`${where}: no architecture here has a system call "${name}"`);
  }
  const value = actionValue(rule["action"], rule["errnoRet"], EPERM, `${where}.action`);
  const conditions = list(rule["args"], `${where}.args`).map((entry, index) =>
    condition(entry, `${where}.args[${index}]`),
  );
  const indices = conditions.map(({ index }) => index);
  const alternatives = new Set(indices).size < indices.length;
  if (alternatives) return conditions.map((one) => ({ names, conditions: [one], value }));
  return [{ names, conditions, value }];
}

const U64 = 0xffffffffffffffffn;

function condition(entry: unknown, where: string): ArgumentCondition {
  const json = object(entry, where);
  const op = COMPARISONS.find((name) => name === json["op"]);
  if (op === undefined)
    throw refuse(where, `${JSON.stringify(json["op"])} is no comparison: ${COMPARISONS.join(", ")}`);
  return {
    index: Number(unsigned(json["index"], 5n, `${where}.index`)),
    op,
    value: unsigned(json["value"], U64, `${where}.value`),
    valueTwo: unsigned(json["valueTwo"], U64, `${where}.valueTwo`),
  };
}

/** Whether a condition holds for an argument. */
export function conditionHolds({ op, value, valueTwo }: ArgumentCondition, argument: bigint): boolean {
  const actual = BigInt.asUintN(64, argument);
  switch (op) {
    case "SCMP_CMP_EQ":
      return actual === value;
    case "SCMP_CMP_NE":
      return actual !== value;
    case "SCMP_CMP_LT":
      return actual < value;
    case "SCMP_CMP_LE":
      return actual <= value;
    case "SCMP_CMP_GE":
      return actual >= value;
    case "SCMP_CMP_GT":
      return actual > value;
    case "SCMP_CMP_MASKED_EQ":
      return (actual & value) === valueTwo;
  }
}

/** The rules that can answer a call by name, the first that holds does: conditional ones, or one unconditional. */
export function rulesFor(rules: readonly SeccompRule[], name: string): readonly SeccompRule[] {
  const own = rules.filter(({ names }) => names.includes(name));
  const unconditional = own.find(({ conditions }) => conditions.length === 0);
  return unconditional === undefined ? own : [unconditional];
}
