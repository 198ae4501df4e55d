/** The running kernel's answers, kept on disk: it is deterministic, so each program is asked about once. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { BpfError } from "../../src/errors.ts";
import {
  Handle,
  Kernel,
  type KernelMap,
  type ProgramDefinition,
  attemptLoad,
} from "../../src/kernel/index.ts";
import { type Capability, reasonOf } from "../../src/verifier/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { createMapOf, linkObject, resolveReferences } from "../../src/kernel/load.ts";
import { type Answer, answerOf, withoutStatistics } from "./answer.ts";
import { type WithCapabilities, loadCapabilities } from "./capabilities.ts";
import type { Subject } from "./subject.ts";

/** Changes when what is asked or kept changes. */
const FORMAT = 5;
const CACHE = process.env["SKEP_VERIFY_CACHE"] ?? join(tmpdir(), "skep-verify-diff");

/** Above this number of processed instructions the log of level 2 is too long to keep: level 1 has to do. */
const LONG = 20_000;

/** The kernel's answer, or why it could not be asked: a map or BTF that it does not make, no privilege. */
export type KernelAnswer = JudgedByKernel | { readonly unasked: string };

/** `withoutTypes`: the kernel refuses the object's BTF, so the program was loaded without, as libbpf does it. */
export interface JudgedByKernel extends Answer {
  readonly withoutTypes: boolean;
}

export class KernelSide {
  #kernel: Kernel | undefined;
  readonly #kept: readonly Capability[] | undefined;
  #withCapabilities: WithCapabilities | undefined;

  /** `kept`: load with these capabilities only. */
  constructor(kept?: readonly Capability[]) {
    this.#kept = kept;
  }

  async answer(subject: Subject): Promise<KernelAnswer> {
    // The linker can change what an object's program is.
    const program = JSON.stringify(subject.linked.instructions);
    const key = createHash("sha256")
      .update(
        `${FORMAT} ${release()} ${subject.key} ${program}${this.#kept?.map((name) => ` ${name}`).join("") ?? ""}`,
      )
      .digest("hex");
    const path = join(CACHE, key.slice(0, 2), `${key.slice(2)}.gz`);
    if (existsSync(path)) {
      const kept = judged(JSON.parse(gunzipSync(readFileSync(path)).toString()) as KernelAnswer);
      if (kept !== undefined) return kept;
    }
    this.#kernel ??= await Kernel.open();
    const kept = this.#kept;
    if (kept !== undefined) this.#withCapabilities ??= await loadCapabilities();
    const as = this.#withCapabilities;
    const answer = ask(this.#kernel, subject, (work) =>
      kept === undefined || as === undefined ? work() : as(kept, work),
    );
    mkdirSync(join(CACHE, key.slice(0, 2)), { recursive: true });
    writeFileSync(path, gzipSync(JSON.stringify(answer)));
    return judged(answer) ?? answer;
  }

  /** Microseconds of verifications without a log: by the kernel's own account, or the processor time of the call if that is less. */
  async times(subject: Subject, runs: number): Promise<readonly number[]> {
    this.#kernel ??= await Kernel.open();
    return withLoader(
      this.#kernel,
      subject,
      (work) => work(),
      ({ load }) =>
        Array.from({ length: runs }, () => {
          const before = process.cpuUsage();
          const said = load(0)?.microseconds ?? Number.NaN;
          const { user, system } = process.cpuUsage(before);
          return Math.min(said, user + system);
        }),
    );
  }

  close(): void {
    this.#kernel?.close();
  }
}

/** What a machine forbids before its verifier looks is no verdict; undefined: the question was put wrong once, ask again. */
function judged(answer: KernelAnswer): KernelAnswer | undefined {
  if ("unasked" in answer) return answer;
  if (answer.line.startsWith("arena's user address must be set")) return undefined;
  if (answer.errno === "EPERM" && answer.processed <= 0) return { unasked: "forbidden on this machine" };
  // The words of answers that were kept may have been cut out otherwise once.
  const log = withoutStatistics(answer.log);
  return { ...answer, log, line: answer.accepted ? "" : reasonOf(log) };
}

/** Where a loader would have mapped an arena that does not say. */
const ARENA_ADDRESS = 1n << 44n;

/** Does some work with fewer capabilities. */
type As = <T>(work: () => T) => T;

function ask(kernel: Kernel, subject: Subject, as: As): KernelAnswer {
  try {
    return withLoader(kernel, subject, as, ({ load }) => {
      const short = load(1);
      if (short === undefined) return { unasked: "refused without a log" };
      return short.processed > LONG ? short : { ...(load(2) ?? short), microseconds: short.microseconds };
    });
  } catch (error) {
    if (error instanceof BpfError) return { unasked: error.message };
    throw error;
  }
}

/** Calls `use` with a way to load the program at a log level; its maps and types are there meanwhile. */
function withLoader<T>(
  kernel: Kernel,
  subject: Subject,
  as: As,
  use: (loader: { load(level: number): JudgedByKernel | undefined }) => T,
): T {
  const open: Handle[] = [];
  try {
    const { definition, btf } = definitionOf(kernel, subject);
    if (btf !== undefined) open.push(btf);
    const maps: Record<string, KernelMap> = {};
    for (const reference of subject.linked.references.values()) {
      if (reference.kind === "extern" || maps[reference.map.name] !== undefined) continue;
      const { type, extra } = reference.map;
      const spec =
        type === "arena" && extra === 0n ? { ...reference.map, extra: ARENA_ADDRESS } : reference.map;
      const map = as(() => createMapOf(kernel, subject.spec, spec, btf as never));
      maps[reference.map.name] = map;
      open.push(map);
    }
    const instructions = resolveReferences(subject.linked, maps);
    const withoutTypes = subject.spec.btf !== undefined && btf === undefined;
    return use({
      load(level) {
        // Level 4 tells time and stack depth as well.
        const { result, log } = as(() => attemptLoad(kernel, { ...definition, instructions }, level | 4));
        if (result >= 0) new Handle(kernel, result).close();
        else if (log.trim() === "") return undefined;
        return { ...answerOf(result >= 0, result >= 0 ? "" : nameOfErrno(result), log), level, withoutTypes };
      },
    });
  } finally {
    for (const handle of open.reverse()) handle.close();
  }
}

function definitionOf(
  kernel: Kernel,
  { name, type, attachType, license, flags, linked, spec }: Subject,
): { readonly definition: ProgramDefinition; readonly btf: Handle | undefined } {
  const common = { name, type, license, flags, instructions: linked.instructions };
  if (spec.btf === undefined || linked.program === undefined) {
    return {
      definition: { ...common, ...(attachType === undefined ? {} : { expectedAttachType: attachType }) },
      btf: undefined,
    };
  }
  const { definitions, btf } = linkObject(kernel, spec, [name]);
  // CO-RE has been applied here, so that both sides see the same instructions and the kernel's log has no lines of it.
  const definition = { ...(definitions[0] as ProgramDefinition), flags };
  delete (definition as { coreRelocations?: unknown }).coreRelocations;
  return { definition, btf };
}
