/** On which kernels the programs of an object load: a table, and what is missing where. */
import type { Btf } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import { placeText } from "../../explain/index.ts";
import type { ObjectSpec } from "../../object/index.ts";
import {
  EXACT_KERNEL,
  KERNELS,
  type KernelJudgement,
  type KernelVersion,
  type Need,
  type ProgramProfile,
  hasSince,
  profileOf,
} from "../../profiles/index.ts";
import { type Terminal, table } from "../terminal.ts";

/** A program on the kernels that are asked about. */
export interface ProfileRow {
  readonly program: string;
  readonly section: string;
  /** Whether all of these kernels take it. */
  readonly loads: boolean;
  /** The first release that has all it needs. */
  readonly since: string | undefined;
  readonly judgements: readonly KernelJudgement[];
  /** Why it has no verdict; "" if it has one. */
  readonly reason: string;
  /** Why the program did not come as far. */
  readonly error: string | undefined;
}

export function profilesOf(
  spec: ObjectSpec,
  names: readonly string[],
  kernels: readonly KernelVersion[],
  btf: Btf | undefined,
): ProfileRow[] {
  return names.map((program) => {
    const section = spec.programs[program]?.section ?? "";
    let profile: ProgramProfile | undefined;
    let error: string | undefined;
    try {
      profile = profileOf(spec, program, kernels, btf ?? spec.btf);
      if (profile === undefined) error = `section ${section} names no program type`;
    } catch (thrown) {
      if (!(thrown instanceof BpfError)) throw thrown;
      error = thrown.message;
    }
    const judgements = profile?.judgements ?? [];
    return {
      program,
      section,
      loads: profile !== undefined && judgements.every(({ verdict }) => verdict === "accepted"),
      since: profile?.since,
      reason: profile?.reason ?? "",
      judgements,
      error,
    };
  });
}

const CELLS = { accepted: "yes", rejected: "no", unknown: "?" } as const;

function cell({ verdict, lacks }: KernelJudgement): string {
  return lacks.length === 0 && verdict === "rejected" ? "no *" : CELLS[verdict];
}

/** "helper bpf_loop: since 5.17 (e6f2dd0f8067), f.bpf.c:12". */
function needText({ kind, name, since, until, commit, stable, complaint, place, map }: Need): string {
  const what =
    kind === "feature"
      ? name
      : `${kind}${kind === "verifier" ? ":" : ""} ${kind === "helper" ? `bpf_${name}` : name}`;
  const where = map !== undefined ? `, map '${map}'` : place === undefined ? "" : `, ${placeText(place)}`;
  const versions = [
    `since ${since}${commit === "" ? "" : ` (${commit})`}`,
    ...(until === undefined ? [] : [`gone in ${until}`]),
    ...(stable === undefined ? [] : [`in ${stable} too`]),
  ];
  const said = complaint === undefined || complaint === "" ? "" : ` ("${complaint.split("\n")[0]}")`;
  return `${what}: ${versions.join(", ")}${where}${said}`;
}

export function showProfiles(
  rows: readonly ProfileRow[],
  kernels: readonly KernelVersion[],
  terminal: Terminal,
): void {
  const { line, style } = terminal;
  const body = rows.map(({ program, judgements, since, error }) => [
    program,
    ...kernels.map((kernel) => {
      const found = judgements.find((one) => one.kernel === kernel);
      return found === undefined ? "?" : cell(found);
    }),
    error ?? since ?? "",
  ]);
  const [head = "", ...lines] = table(["program", ...kernels, "has all since"], body);
  line(style("bold", head));
  for (const text of lines) line(text);
  const refused = rows.filter(({ judgements }) =>
    judgements.some(({ verdict, lacks }) => verdict === "rejected" && lacks.length === 0),
  );
  for (const row of rows) showLacks(row, terminal);
  if (refused.length > 0) {
    line();
    line(`* ${EXACT_KERNEL}'s verifier rejects it: see 'skep verify' without --kernel`);
  }
  const reasons = new Set(rows.map(({ reason }) => reason));
  reasons.delete("");
  if (reasons.size > 0) line();
  for (const reason of reasons) {
    const hint = reason.includes("types") ? ": give them with --btf /sys/kernel/btf/vmlinux" : "";
    line(`? not judged: ${reason}${hint}`);
  }
  if (kernels.some((kernel) => kernel !== EXACT_KERNEL) && rows.some(({ loads }) => loads)) {
    line();
    line(
      style(
        "dim",
        `yes: the kernel has all that the program needs, and ${EXACT_KERNEL}'s verifier accepts it. Older verifiers prove less.`,
      ),
    );
  }
}

/** What is missing, newest first, each with the kernels that lack it. */
function showLacks({ program, judgements }: ProfileRow, { line, style }: Terminal): void {
  const needs = new Map<string, { need: Need; kernels: KernelVersion[] }>();
  for (const { kernel, lacks } of judgements) {
    for (const need of lacks) {
      const key = `${need.kind} ${need.name}`;
      const seen = needs.get(key);
      if (seen === undefined) needs.set(key, { need, kernels: [kernel] });
      else seen.kernels.push(kernel);
    }
  }
  if (needs.size === 0) return;
  line();
  line(style("bold", program));
  const sorted = [...needs.values()].sort((first, second) => order(second.need) - order(first.need));
  for (const { need, kernels } of sorted)
    line(`  ${style("red", kernels.join(", "))} lack${kernels.length === 1 ? "s" : ""} ${needText(need)}`);
}

function order({ since }: Need): number {
  return KERNELS.filter((kernel) => !hasSince(kernel, since)).length;
}
