/** Explanations of rejections: `explain`. */
import {
  type RegisterSnapshot,
  type VerifierOptions,
  type VerifierProgram,
  reasonOf,
} from "../verifier/index.ts";
import { type Case, type Cause } from "./case.ts";
import { callNotAllowed, kernelPointer, objectState, region, typeMismatch } from "./causes/call.ts";
import { contextAccess, misaligned, readOnly, stackBounds, uninitialised } from "./causes/memory.ts";
import { packetAccess } from "./causes/packet.ts";
import { leak, notAPointer, nullCheck, pointerOperation, releaseArgument } from "./causes/pointer.ts";
import { capability, pointerLeak, speculation } from "./causes/privilege.ts";
import { malformed, otherRule, returnValue, tooComplex } from "./causes/program.ts";
import { constantArgument, lengthArgument, pointerMath, regionAccess } from "./causes/range.ts";
import { type RejectionClass, pageOf, titleOf } from "./classes.ts";
import { type Complaint, complaintOf } from "./classify.ts";
import { isCall } from "./effects.ts";
import { type Location, frameOf, locationName, register, slotOf, valueAt } from "./location.ts";
import { type OriginEvent, originOf } from "./origin.ts";
import { type FailingPath, failingPath } from "./path.ts";
import { type ExcerptLine, type Place, excerptOf, placeOf } from "./place.ts";
import { eventWords } from "./story.ts";
import { structuredText } from "./structured.ts";
import { valueWords } from "./words.ts";

/** One instruction that made the value what it is. */
export interface OriginStep {
  readonly place: Place;
  /** "R3", "fp-16". */
  readonly location: string;
  /** What happened, in words. */
  readonly what: string;
  /** What was there afterwards, as the log writes it; "" if nothing that may be read. */
  readonly value: string;
}

/** A place with the lines around it. */
export interface Excerpt extends Place {
  readonly lines: readonly ExcerptLine[];
}

/** Why a program is rejected. */
export interface Explanation {
  readonly class: RejectionClass;
  readonly title: string;
  /** The last complaint of the verifier, in the kernel's words. */
  readonly message: string;
  readonly errno: string;
  /** Plain words. */
  readonly cause: string;
  /** The line to look at; undefined if no single instruction is at fault. */
  readonly at: Excerpt | undefined;
  /** What is complained about, and what it holds. */
  readonly subject: { readonly location: string; readonly holds: string; readonly value: string } | undefined;
  /** How that came about, oldest first. */
  readonly origin: readonly OriginStep[];
  /** What is missing. */
  readonly missing: string;
  /** Where the change goes. */
  readonly where: Place | undefined;
  /** The usual pattern in C; "" if there is none. */
  readonly code: string;
  /** Set if the source does what it should and the compiler's instructions hide it: how. */
  readonly artefact: string | undefined;
  /** A page about the class. */
  readonly page: string;
}

const CAUSES: Readonly<Record<string, (one: Case) => Cause>> = {
  "null-check": nullCheck,
  "packet-bounds": packetAccess,
  "invalid-context": contextAccess,
  "missing-range/region": regionAccess,
  "missing-range/unbounded": regionAccess,
  "missing-range/negative": regionAccess,
  "missing-range/negative_size": lengthArgument,
  "missing-range/unbounded_size": lengthArgument,
  "missing-range/zero_size": lengthArgument,
  "missing-range/constant": constantArgument,
  "missing-range/math": pointerMath,
  "lost-provenance": pointerOperation,
  "invalid-pointer/access": notAPointer,
  "invalid-pointer": pointerOperation,
  stack: stackBounds,
  misaligned,
  uninitialised,
  "return-value": returnValue,
  "leaked-reference": leak,
  "use-after-release": releaseArgument,
  "too-complex": tooComplex,
  "call-not-allowed": callNotAllowed,
  "type-mismatch": typeMismatch,
  "read-only": readOnly,
  "context-region": region,
  "untrusted-pointer": kernelPointer,
  "object-state": objectState,
  malformed,
  "pointer-leak": pointerLeak,
  speculation,
  capability,
};

function causeOf(one: Case): { class: RejectionClass; cause: Cause } {
  const { rule } = one.complaint;
  if (rule === undefined) return { class: "other", cause: otherRule(one) };
  const make = CAUSES[`${rule.class}/${rule.cause}`] ?? CAUSES[rule.class] ?? otherRule;
  const cause = make(one);
  return { class: cause.class ?? rule.class, cause };
}

/** The register or slot that the complaint is about. */
function subjectOf(
  { groups, rule, message }: Complaint,
  { steps }: FailingPath,
  at: number,
): Location | undefined {
  const step = steps[at];
  if (step === undefined) return undefined;
  const frame = frameOf(step.state);
  const { opcode, dst, src } = step.instruction;
  if (groups["reg"] !== undefined) return register(frame, Number(groups["reg"]));
  if (groups["arg"] !== undefined) return register(frame, Number(groups["arg"]) % 6);
  const nth = groups["nth"] ?? (isCall(step) ? /^arg#(\d+) /.exec(message)?.[1] : undefined);
  if (nth !== undefined) return register(frame, Number(nth) + 1);
  // What is given back is a function's first argument.
  if (rule?.class === "use-after-release" && isCall(step)) return register(frame, 1);
  const cls = opcode & 7;
  if (rule?.class === "uninitialised" && groups["off"] !== undefined) {
    return slotOf(frame, Number(groups["off"]) + Number(groups["at"] ?? 0));
  }
  if (cls === 1) return register(frame, src);
  if (cls === 2) return register(frame, dst);
  if (cls === 3) return rule?.cause === "spill" ? register(frame, src) : register(frame, dst);
  if (rule?.class === "missing-range" || rule?.class === "stack") {
    // Arithmetic on a pointer: the number is at fault.
    const number = (opcode & 8) !== 0 && valueAt(step.state, register(frame, src))?.pointer === false;
    return register(frame, number ? src : dst);
  }
  return undefined;
}

/** The newest step, if the walk stood at its instruction; -1 if it was not under way. */
function stepAtFault({ steps, trace }: FailingPath): number {
  if (trace === undefined || trace.last < 0) return -1;
  return steps.length - 1;
}

/**
 * Explains why a program is rejected: verifies it, finds the path that fails, and walks back along it. Undefined for a program
 * that is accepted, or of which the verifier does not know enough.
 *
 * @example
 * explain(verifierProgram(linkProgram(spec, "firewall"), { type: "xdp", license: "GPL" }))?.cause;
 */
export function explain(program: VerifierProgram, options: VerifierOptions = {}): Explanation | undefined {
  const path = failingPath(program, options);
  return isRejected(path) ? explainPath(path) : undefined;
}

/** A rejection taken apart. */
function caseOf(path: FailingPath): Case {
  const { program, result } = path;
  const complaint = complaintOf(result.log);
  const at = stepAtFault(path);
  const step = path.steps[at];
  const stoppedAt = path.trace?.stoppedAt ?? -1;
  const slot = stoppedAt >= 0 ? stoppedAt : step?.slot;
  const place =
    slot === undefined || slot >= program.instructions.length ? undefined : placeOf(program, slot);
  const subject = subjectOf(complaint, path, at);
  const value = subject === undefined || step === undefined ? undefined : valueAt(step.state, subject);
  const origin = subject === undefined ? [] : originOf(path, at, subject);
  return { path, complaint, at, step, place, subject, value, origin };
}

/**
 * The log of a rejection in the shape of Linux 7.3; undefined where {@link explain} is. See docs/explanations.md for what is the
 * kernel's in it and what is ours.
 */
export function structuredLog(program: VerifierProgram, options: VerifierOptions = {}): string | undefined {
  const path = failingPath(program, options);
  if (!isRejected(path)) return undefined;
  return structuredText(path, explainPath(path), caseOf(path).origin);
}

function isRejected({ result: { accepted, cancelled, errno } }: FailingPath): boolean {
  return !accepted && !cancelled && errno !== undefined && errno !== "EOPNOTSUPP";
}

/** The same for a path that is known already. */
export function explainPath(path: FailingPath): Explanation {
  const { program, result } = path;
  const one = caseOf(path);
  const { complaint, at, place, subject, value, origin } = one;
  const { class: id, cause } = causeOf(one);
  const named = cause.place ?? place;
  return {
    class: id,
    title: titleOf(id),
    message: complaint.message === "" ? reasonOf(result.log) : complaint.message,
    errno: result.errno ?? "",
    cause: cause.cause,
    at: named === undefined ? undefined : { ...named, lines: excerptOf(program, named) },
    subject: subject === undefined || at < 0 ? undefined : subjectWords(subject, value),
    origin: origin.map((event) => stepWords(path, event)),
    missing: cause.missing,
    where: cause.where,
    code: cause.code,
    artefact: cause.artefact,
    page: pageOf(id),
  };
}

function subjectWords(
  location: Location,
  value: RegisterSnapshot | undefined,
): NonNullable<Explanation["subject"]> {
  return { location: locationName(location), holds: valueWords(value), value: value?.text ?? "" };
}

function stepWords(path: FailingPath, event: OriginEvent): OriginStep {
  return {
    place: placeOf(path.program, event.slot),
    location: locationName(event.location),
    what: eventWords(path, event),
    value: event.after?.text ?? "",
  };
}
