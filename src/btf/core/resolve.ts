import { BpfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import type { CoreRelocation } from "../ext.ts";
import { typeName } from "../name.ts";
import { type Access, describeAccess, parseAccess } from "./access.ts";
import { type Candidate, type CoreTarget, type MemberPlace, findCandidates, matchAccess } from "./target.ts";
import { type CoreValue, coreValue } from "./value.ts";

/** What becomes of one relocation. */
export interface CoreResolution {
  /** What is accessed, as in C: "struct task_struct::real_parent.tgid". */
  readonly text: string;
  /** As the compiler saw it. */
  readonly original: CoreValue | undefined;
  /** On the target; undefined if it is missing there and the instruction must not run. */
  readonly value: CoreValue | undefined;
  /** If it is missing: the whole sentence, with the candidates that were tried. */
  readonly missing: string | undefined;
  /** What it was found in, and by which members. */
  readonly found: Found | undefined;
}

interface Found {
  readonly access: Access;
  readonly path: readonly MemberPlace[];
}

/**
 * Answers the relocations of one program against one target.
 *
 * The types of the target that have the kind and the essential name of the program's type are candidates. The access is
 * followed through each. Candidates through which it leads must agree about the answer, because nobody can tell which is meant;
 * and if any did, those through which it did not lead are not asked again by the same program. So do libbpf and the kernel.
 */
export class CoreResolver {
  readonly #local: Btf;
  readonly #target: CoreTarget;
  readonly #candidates = new Map<number, readonly Candidate[]>();
  /** Programs ask the same again and again: of Tracee's 34,756 questions most are repetitions. */
  readonly #known = new Map<string, CoreResolution>();

  constructor(local: Btf, target: CoreTarget) {
    this.#local = local;
    this.#target = target;
  }

  /**
   * @throws BpfError code "relocation" if the candidates contradict each other, "btf" for damaged types.
   */
  resolve(relocation: CoreRelocation): CoreResolution {
    const { kind, type, access } = relocation;
    const key = `${type} ${kind} ${access}`;
    let known = this.#known.get(key);
    if (known === undefined) this.#known.set(key, (known = this.#answer(relocation)));
    return known;
  }

  #answer(relocation: CoreRelocation): CoreResolution {
    const { kind } = relocation;
    const access = parseAccess(this.#local, relocation);
    const text = describeAccess(access);
    const original = coreValue(kind, access);
    if (kind === "type_id_local")
      return { text, original, value: original, missing: undefined, found: undefined };

    const local = this.#local.type(relocation.type);
    if (local.name === "") {
      throw new BpfError("relocation", `${text}: CO-RE needs a name to look for, and this type has none`);
    }
    const candidates = this.#candidatesOf(relocation.type);
    const fitting: Candidate[] = [];
    const failures: string[] = [];
    let first: (Found & { readonly value: CoreValue | undefined }) | undefined;
    for (const candidate of candidates) {
      const match = matchAccess(access, relocation, candidate);
      if ("why" in match) {
        failures.push(`${label(candidate)}: ${match.why}`);
        continue;
      }
      const value = this.#valueOf(text, relocation, match.access);
      if (first === undefined) first = { ...match, value };
      else if (first.access.bitOffset !== match.access.bitOffset || first.value?.value !== value?.value) {
        const [one, other] = [fitting[0] as Candidate, candidate];
        throw new BpfError(
          "relocation",
          `${text}: ambiguous, the target has ${label(one)} with ${answer(kind, first)} and ${label(other)} with ${answer(kind, { access: match.access, value })}`,
        );
      }
      fitting.push(candidate);
    }
    if (first !== undefined) {
      this.#candidates.set(relocation.type, fitting);
      return { text, original, value: first.value, missing: undefined, found: first };
    }
    const value = coreValue(kind, undefined);
    const missing = value === undefined ? missingText(text, relocation, failures, this.#target) : undefined;
    return { text, original, value, missing, found: undefined };
  }

  #candidatesOf(id: number): readonly Candidate[] {
    let found = this.#candidates.get(id);
    if (found === undefined) {
      found = findCandidates(this.#local.type(id), this.#target);
      this.#candidates.set(id, found);
    }
    return found;
  }

  #valueOf(text: string, { kind }: CoreRelocation, access: Access): CoreValue | undefined {
    try {
      return coreValue(kind, access);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      throw new BpfError(error.code, `${text}: ${error.message}`, { where: error.where });
    }
  }
}

function label({ btf, type }: Candidate): string {
  return `${typeName(btf, type.id)} (type ${type.id} of ${btf.name})`;
}

function answer(
  kind: string,
  { access, value }: { readonly access: Access; readonly value: CoreValue | undefined },
): string {
  if (value === undefined) return "nothing";
  return kind.startsWith("field") && kind !== "field_byte_offset"
    ? `${value.value} at bit ${access.bitOffset}`
    : `${value.value}`;
}

/** More candidates than these say nothing new. */
const SHOWN = 5;

function missingText(
  text: string,
  { kind }: CoreRelocation,
  failures: readonly string[],
  { target, modules = [] }: CoreTarget,
): string {
  const where = modules.length === 0 ? target.name : `${target.name} and ${modules.length} modules`;
  if (failures.length === 0) return `${text}: no such type in the target (${where})`;
  const what = kind.startsWith("enumval") ? "enumerator" : "member";
  const more = failures.length > SHOWN ? `; and ${failures.length - SHOWN} more` : "";
  return `${text}: no such ${what} in the target; tried ${failures.slice(0, SHOWN).join("; ")}${more}`;
}
