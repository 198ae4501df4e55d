/**
 * `npm run verify-diff -- FILES [--json]`: every program of the objects, judged by our verifier and by the running kernel's.
 * A table of agreement, or one JSON line for each program.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Difference, compareAnswers } from "./compare.ts";
import { possibleCpus } from "../../src/kernel/index.ts";
import type { Capability } from "../../src/verifier/index.ts";
import { type UnprivilegedRow, expectationOf, judgeUnprivileged, unprivilegedSummary } from "./expected.ts";
import { KernelSide } from "./kernel-side.ts";
import { needsOf } from "./needs.ts";
import { ourAnswer } from "./our-side.ts";
import { subjectsOf } from "./subject.ts";
import { compareRandom } from "./random.ts";
import { compareConstructs } from "./random-constructs.ts";
import { compareKernelObjects } from "./random-kernel.ts";
import { coldTime, compareSpeed } from "./speed.ts";
import { type Row, summary } from "./summary.ts";

/** Returns the exit status: 1 if we accepted what the kernel rejects. */
export async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      program: { type: "string", short: "p" },
      core: { type: "boolean", default: false },
      differing: { type: "boolean", short: "d", default: false },
      logs: { type: "string" },
      out: { type: "string" },
      limit: { type: "string", default: "60" },
      random: { type: "string" },
      objects: { type: "string" },
      constructs: { type: "string" },
      capabilities: { type: "string" },
      unprivileged: { type: "boolean", default: false },
      speed: { type: "boolean", default: false },
      cold: { type: "boolean", default: false },
      "cold-time": { type: "string" },
      seed: { type: "string", default: "0" },
    },
  });
  const limit = Number(values.limit) * 1000;
  const kept = values.capabilities?.split(",") as Capability[] | undefined;
  const { random, objects, constructs } = values;
  if (random !== undefined || objects !== undefined || constructs !== undefined) {
    const seed = Number(values.seed);
    const { programs, accepted, unknown, differences } =
      random !== undefined
        ? await compareRandom(Number(random), seed, possibleCpus(), limit, kept)
        : objects !== undefined
          ? await compareKernelObjects(Number(objects), seed, limit)
          : await compareConstructs(Number(constructs), seed, possibleCpus());
    for (const { seed, ours } of unknown) console.log(`seed ${seed} unknown: ${ours}`);
    for (const { seed, ours, kernel: theirs, falseAccept } of differences) {
      console.log(
        `seed ${seed}${falseAccept ? " FALSE ACCEPT" : ""}\n  ours:   ${ours}\n  kernel: ${theirs}`,
      );
    }
    const verdicts = differences.filter(
      (row) => row.ours.startsWith("accepted") !== row.kernel.startsWith("accepted"),
    );
    console.log(
      `${programs} programs, ${accepted} accepted by the kernel, ${unknown.length} unknown to us; ${verdicts.length} verdicts differ, ` +
        `${verdicts.filter((row) => row.falseAccept).length} of them false accepts; ${differences.length - verdicts.length} messages differ`,
    );
    return verdicts.some((row) => row.falseAccept) ? 1 : 0;
  }
  if (positionals.length === 0) {
    console.error(
      "usage: npm run verify-diff -- FILES [-p PROGRAM] [--core] [-d] [--json] [--out FILE] [--logs DIRECTORY] [--limit SECONDS]\n" +
        "         [--capabilities bpf,perfmon,net_admin: those that loading has on both sides]\n" +
        "         [--unprivileged: nobody's capabilities, against the expectations in the objects]\n" +
        "       npm run verify-diff -- FILES --speed [--cold]\n" +
        "       npm run verify-diff -- --random COUNT | --objects COUNT | --constructs COUNT [--seed SEED]",
    );
    return 2;
  }
  if (values.unprivileged) {
    const judged: UnprivilegedRow[] = [];
    for (const subject of positionals.flatMap(subjectsOf)) {
      if (values.program !== undefined && subject.name !== values.program) continue;
      const expected = "reason" in subject ? undefined : expectationOf(subject);
      if ("reason" in subject || expected === undefined) continue;
      judged.push(judgeUnprivileged(subject, expected, Number(values.limit) * 1000));
    }
    console.log(unprivilegedSummary(judged));
    return 0;
  }
  if (values["cold-time"] !== undefined) {
    console.log(`cold ${coldTime(positionals[0] as string, values["cold-time"])}`);
    return 0;
  }
  if (values.speed) {
    console.log(await compareSpeed(positionals, values.cold, (line) => console.log(line)));
    return 0;
  }
  const kernel = new KernelSide(kept);
  const rows: Row[] = [];
  try {
    for (const path of positionals) {
      for (const subject of subjectsOf(path)) {
        if (values.program !== undefined && subject.name !== values.program) continue;
        if ("reason" in subject) {
          rows.push({ ...subject, needs: [], unjudged: subject.reason });
          continue;
        }
        const { file, name, section, type } = subject;
        const needs = needsOf(subject);
        if (values.core && needs.length > 0) continue;
        const theirs = await kernel.answer(subject);
        if ("unasked" in theirs) {
          rows.push({ file, name, needs, unjudged: theirs.unasked });
          continue;
        }
        const ours = ourAnswer(subject, theirs, limit, kept);
        const difference: Difference = compareAnswers(ours, theirs);
        const row: Row = { file, name, section, type, needs, ours, theirs, difference };
        rows.push(row);
        if (values.json && !(values.differing && same(difference))) console.log(JSON.stringify(brief(row)));
        if (values.logs !== undefined && !difference.log) {
          const stem = `${values.logs}/${file}.${name.replaceAll(/[^\w.-]+/g, "_").slice(0, 100)}`;
          writeFileSync(`${stem}.ours`, ours.log);
          writeFileSync(`${stem}.kernel`, theirs.log);
        }
      }
    }
  } finally {
    kernel.close();
  }
  if (values.out !== undefined) {
    writeFileSync(values.out, rows.map((row) => `${JSON.stringify(brief(row))}\n`).join(""));
  }
  if (!values.json) console.log(summary(rows, values.differing));
  return rows.some(({ difference }) => difference?.falseAccept === true) ? 1 : 0;
}

function same({ verdict, line, processed, states, log }: Difference): boolean {
  return verdict && line && processed && states && log;
}

/** Without the logs, which may be megabytes. */
function brief({ ours, theirs, ...row }: Row): unknown {
  const cut = (answer: { readonly log: string }): unknown => ({ ...answer, log: undefined });
  return { ...row, ...(ours ? { ours: cut(ours) } : {}), ...(theirs ? { kernel: cut(theirs) } : {}) };
}
