/** Whether a program may run unchecked: the verifier is asked. */
import type { LinkedProgram } from "../object/index.ts";
import type { LoadOptions } from "./options.ts";
import { type Safety, type Unverified, safetyOf } from "./safety.ts";

/**
 * Asks the verifier, and decides how the program runs. What cannot be judged is noted.
 *
 * @throws VerifierError for a program that Linux would refuse.
 */
export async function prove(
  linked: LinkedProgram,
  choice: Unverified,
  cpus: number,
  given: LoadOptions["maps"],
  notes: string[],
): Promise<Safety> {
  const other = standIn(linked, given);
  if (other !== undefined) {
    notes.push(`program '${linked.name}': not verified: map '${other}' is not as the object declares it`);
    return safetyOf(false, choice);
  }
  // The verifier is a quarter of all modules: who does not ask it does not load it.
  const { rejectionOf, verifyLinked } = await import("../verifier/index.ts");
  const verdict = verifyLinked(linked, { cpus });
  if (verdict.verdict === "rejected") throw rejectionOf(verdict);
  if (verdict.verdict === "accepted") return safetyOf(true, choice);
  notes.push(`program '${linked.name}': not verified: ${verdict.reason}`);
  return safetyOf(false, choice);
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
