/**
 * What older verifiers prove less of: the program is walked again without the abilities that a kernel lacks; where that walk refuses it,
 * the kernel's would.
 */
import { placeOf } from "../explain/index.ts";
import { type VerifierAbility, type VerifierProgram, verify } from "../verifier/index.ts";
import type { KernelVersion } from "./kernels.ts";
import { hasSince } from "./kernels.ts";
import type { Need } from "./needs.ts";

interface AbilityRow {
  readonly id: VerifierAbility;
  readonly title: string;
  readonly since: string;
  readonly commit: string;
  readonly stable?: string;
}

export const ABILITIES: readonly AbilityRow[] = [
  {
    id: "uninit_stack",
    title: "reading bytes of the stack that were never written",
    since: "6.3",
    commit: "6715df8d5d24",
    stable: "5.15.163",
  },
  {
    id: "constant_to_context",
    title: "storing a constant into the context in one instruction",
    since: "6.4",
    commit: "0d80a619c113",
  },
  {
    id: "number_pairs",
    title: "narrowing both numbers of a comparison",
    since: "6.8",
    commit: "67420501e868",
  },
  {
    id: "constant_keys",
    title: "looking up a constant key of an array without a test for NULL",
    since: "6.14",
    commit: "d2102f2f5d75",
  },
];

/** What a program that 6.18's verifier accepts needs of an older kernel's verifier; `used`: the abilities that its walk used. */
export function abilitiesNeeded(
  program: VerifierProgram,
  kernels: readonly KernelVersion[],
  used: ReadonlySet<VerifierAbility>,
): ReadonlyMap<KernelVersion, Need> {
  const found = new Map<KernelVersion, Need>();
  const known = new Map<string, Need | undefined>();
  for (const kernel of kernels) {
    const lacking = ABILITIES.filter(({ id, since }) => used.has(id) && !hasSince(kernel, since));
    if (lacking.length === 0) continue;
    const key = lacking.map(({ id }) => id).join();
    if (!known.has(key)) known.set(key, withoutThem(program, lacking));
    const need = known.get(key);
    if (need !== undefined) found.set(kernel, need);
  }
  return found;
}

/** The ability whose lack alone is enough, if there is one; else the youngest of those that lack together. */
function withoutThem(program: VerifierProgram, lacking: readonly AbilityRow[]): Need | undefined {
  const together = refusal(program, lacking);
  if (together === undefined) return undefined;
  for (const row of lacking.length > 1 ? lacking : []) {
    const alone = refusal(program, [row]);
    if (alone !== undefined) return needOf(program, row, alone);
  }
  return needOf(program, lacking.at(-1) as AbilityRow, together);
}

interface Refusal {
  readonly slot: number | undefined;
  readonly complaint: string;
}

function refusal(program: VerifierProgram, lacking: readonly AbilityRow[]): Refusal | undefined {
  const without = new Set(lacking.map(({ id }) => id));
  const { accepted, errno, complaint, rejectedAt } = verify(program, { logLevel: 0, without });
  // Too large for the limit of instructions is nothing that can be said of another kernel: it finds equal states at other places.
  if (accepted || errno === "E2BIG") return undefined;
  return { slot: rejectedAt, complaint };
}

function needOf(program: VerifierProgram, row: AbilityRow, { slot, complaint }: Refusal): Need {
  const { id: _, title, ...rest } = row;
  return {
    kind: "verifier",
    name: title,
    ...rest,
    complaint,
    place: slot === undefined ? undefined : placeOf(program, slot),
    map: undefined,
  };
}
