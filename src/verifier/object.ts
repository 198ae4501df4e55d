/** Verifying one program of an object: linked, fitted to a kernel's types, with its maps. */
import type { VerifierAbility } from "./abilities.ts";
import type { Btf, LineInfo } from "../btf/index.ts";
import { VerifierError } from "../errors.ts";
import { type LinkedProgram, type ObjectSpec, linkProgram, relocate } from "../object/index.ts";
import type { AttachType } from "../uapi/index.ts";
import { verifierProgram } from "./from-object.ts";
import type { VerifierOptions, VerifierProgram } from "./input.ts";
import { lineAt } from "./lines.ts";
import { reasonOf } from "./reason.ts";
import { type VerifierResult, verify } from "./verify.ts";

/** {@link VerifierOptions}, and what the program is fitted to. */
export interface VerifyObjectOptions extends VerifierOptions {
  /** The kernel's types (CO-RE); default: the object's own. */
  readonly btf?: Btf | undefined;
  /** Of extensions (freplace): the object of the program that they extend. */
  readonly extends?: ObjectSpec | undefined;
}

/** What came out for one program. */
export interface ProgramVerdict extends VerifierResult {
  readonly program: string;
  /**
   * "accepted": proved safe. "rejected": Linux would refuse it. "unknown": it uses what this verifier cannot judge yet, or the
   * verification was cancelled.
   */
  readonly verdict: "accepted" | "rejected" | "unknown";
  /** The last complaint of the log; "" if accepted. */
  readonly reason: string;
  /** The source line of {@link VerifierResult.rejectedAt}, if the object has line information. */
  readonly source: LineInfo | undefined;
}

/**
 * Judges one program of an object as Linux 6.18 does.
 *
 * @throws BpfError code "usage" if there is no such program, "relocation" if it cannot be linked.
 * @example
 * const { verdict, reason, log } = verifyObject(parseObject(bytes), "firewall");
 */
export function verifyObject(
  spec: ObjectSpec,
  name: string,
  { btf = spec.btf, extends: base, ...options }: VerifyObjectOptions = {},
): ProgramVerdict {
  const linked = linkProgram(spec, name, { externs: "keep" });
  // The object's own types are no kernel's.
  const kernelBtf = btf === spec.btf ? undefined : btf;
  return verifyLinked(btf === undefined ? linked : relocate(linked, { target: btf }), {
    ...options,
    kernelBtf,
    extends: extendedProgram(spec, name, base, btf === spec.btf ? undefined : btf),
  });
}

/**
 * A program of an object as the verifier takes it, for those who want more than a verdict; undefined if its section names no
 * program type.
 *
 * @throws BpfError code "usage" if there is no such program, "relocation" if it cannot be linked.
 */
export function objectProgram(
  spec: ObjectSpec,
  name: string,
  btf: Btf | undefined = spec.btf,
  base?: ObjectSpec,
): VerifierProgram | undefined {
  const linked = linkProgram(spec, name, { externs: "keep" });
  const kernelBtf = btf === spec.btf ? undefined : btf;
  return inputOf(
    btf === undefined ? linked : relocate(linked, { target: btf }),
    kernelBtf,
    extendedProgram(spec, name, base, kernelBtf),
  );
}

/** The program of another object that has the function which an extension replaces: the first one, as it is verified. */
function extendedProgram(
  spec: ObjectSpec,
  name: string,
  base: ObjectSpec | undefined,
  kernelBtf: Btf | undefined,
): VerifierProgram | undefined {
  const { type, attachTo } = spec.programs[name] ?? {};
  if (type !== "ext" || base === undefined) return undefined;
  const names = Object.keys(base.programs).filter((one) => base.programs[one]?.type !== undefined);
  const found =
    names.find((one) =>
      linkProgram(base, one, { externs: "keep" }).functions.some((row) => row.spec.name === attachTo),
    ) ?? names[0];
  return found === undefined ? undefined : objectProgram(base, found, kernelBtf);
}

function inputOf(
  linked: LinkedProgram,
  kernelBtf: Btf | undefined,
  base: VerifierProgram | undefined,
): VerifierProgram | undefined {
  const { program } = linked;
  if (program?.type === undefined) return undefined;
  const { type, attachType, attachTo, license, flags } = program;
  return verifierProgram(linked, {
    type,
    attachType: attachType as AttachType | undefined,
    license,
    sleepable: flags.sleepable,
    frags: flags.frags,
    kernelBtf,
    attachTo,
    extends: base,
  });
}

/** Judges a linked program. One without a program type is "unknown". */
export function verifyLinked(
  linked: LinkedProgram,
  options: VerifierOptions & {
    readonly kernelBtf?: Btf | undefined;
    readonly extends?: VerifierProgram | undefined;
  } = {},
): ProgramVerdict {
  const { name, program } = linked;
  const input = inputOf(linked, options.kernelBtf, options.extends);
  if (input === undefined) {
    return { ...UNJUDGED, program: name, reason: `section ${program?.section ?? ""} names no program type` };
  }
  const result = verify(input, options);
  const { accepted, errno, cancelled, log, rejectedAt } = result;
  const unknown = cancelled || errno === "EOPNOTSUPP";
  const reason = cancelled ? "cancelled" : accepted ? "" : reasonOf(log);
  return {
    ...result,
    program: name,
    verdict: accepted ? "accepted" : unknown ? "unknown" : "rejected",
    reason,
    source: rejectedAt === undefined ? undefined : lineAt(linked.lines, rejectedAt),
  };
}

const UNJUDGED = {
  accepted: false,
  errno: undefined,
  log: "",
  complaint: "",
  rejectedAt: undefined,
  source: undefined,
  cancelled: false,
  abilities: new Set<VerifierAbility>(),
  states: new Map(),
  trace: undefined,
  contextAccesses: [],
  verdict: "unknown",
  statistics: {
    processedInstructions: 0,
    maxStatesPerInstruction: 0,
    totalStates: 0,
    peakStates: 0,
    stackDepths: [],
    milliseconds: 0,
  },
} as const;

/** The error to throw for a rejected program, in the words of the kernel's, with the source line at which it happened. */
export function rejectionOf({
  program,
  errno,
  reason,
  log,
  rejectedAt,
  source,
}: ProgramVerdict): VerifierError {
  const line = source === undefined ? "" : ` (${source.file}:${source.line}: ${source.text.trim()})`;
  return new VerifierError(
    `program '${program}': the verifier rejects it: ${errno ?? ""}: ${reason}${line}`,
    log,
    {
      ...(errno === undefined ? {} : { errno }),
      where: {
        program,
        ...(rejectedAt === undefined ? {} : { instruction: rejectedAt }),
        ...(source === undefined ? {} : { source: `${source.file}:${source.line}` }),
      },
    },
  );
}
