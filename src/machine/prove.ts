/** Whether a program may run unchecked: the verifier is asked. */
import type { Btf } from "../btf/index.ts";
import type { LinkedProgram } from "../object/index.ts";
import { essentialName } from "./image.ts";
import type { LoadOptions } from "./options.ts";
import { type Safety, type Unverified, safetyOf } from "./safety.ts";

/** What came of asking: how the program runs, and which of its loads and stores are of the context if that is proved. */
export interface Proof {
  readonly safety: Safety;
  readonly contextAccesses?: readonly number[];
}

/**
 * Asks the verifier, and decides how the program runs. What cannot be judged is noted. The kernel's types let it judge
 * kernel functions and structures; where a function is the host's own, no kernel can.
 *
 * @throws VerifierError for a program that Linux would refuse.
 */
export async function prove(
  linked: LinkedProgram,
  choice: Unverified,
  cpus: number,
  given: LoadOptions["maps"],
  notes: string[],
  kernelBtf: Btf | undefined,
): Promise<Proof> {
  const other = standIn(linked, given);
  if (other !== undefined) {
    notes.push(`program '${linked.name}': not verified: map '${other}' is not as the object declares it`);
    return { safety: safetyOf(false, choice) };
  }
  // The verifier is a quarter of all modules: who does not ask it does not load it.
  const { rejectionOf, verifyLinked } = await import("../verifier/index.ts");
  const verdict = verifyLinked(linked, {
    cpus,
    sound: true,
    kernelBtf: kernelBtf !== undefined && hasFunctions(kernelBtf, linked) ? kernelBtf : undefined,
  });
  if (verdict.verdict === "rejected") throw rejectionOf(verdict);
  const { contextAccesses } = verdict;
  if (verdict.verdict === "accepted") return { safety: safetyOf(true, choice), contextAccesses };
  notes.push(`program '${linked.name}': not verified: ${verdict.reason}`);
  return { safety: safetyOf(false, choice) };
}

function hasFunctions(kernelBtf: Btf, { references }: LinkedProgram): boolean {
  return [...references.values()].every(
    (reference) =>
      reference.kind !== "extern" ||
      reference.extern.kind !== "kfunc" ||
      kernelBtf.find(essentialName(reference.extern.name), "func").length > 0,
  );
}

/** A live map that stands in for one of the object but differs from it, so that a proof would not hold; its name. */
function standIn({ references }: LinkedProgram, given: LoadOptions["maps"] = {}): string | undefined {
  for (const reference of references.values()) {
    if (reference.kind === "extern") continue;
    const { name, type, keySize, valueSize, maxEntries, frozen } = reference.map;
    const map = given[name];
    if (map === undefined) continue;
    const same = map.type === type && map.keySize === keySize && map.valueSize === valueSize;
    if (!same || map.maxEntries !== maxEntries || frozen) return name;
  }
  return undefined;
}
