/** What tests share: where the corpus lies, which tools this machine has, and how a skipped test says why. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { resolve } from "node:path";

/** The root of the repository. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url));

/** The corpus folder; tests that need it skip when it is absent. */
export const CORPUS: string = resolve(ROOT, process.env["SKEP_CORPUS"] ?? "../shared/corpus");

export const hasCorpus: boolean = existsSync(CORPUS);

const found = new Map<string, boolean>();

/** Whether a command answers on this machine. */
export function hasTool(command: string, versionFlag = "--version"): boolean {
  let answer = found.get(command);
  if (answer === undefined) {
    answer = spawnSync(command, [versionFlag], { stdio: "ignore" }).error === undefined;
    found.set(command, answer);
  }
  return answer;
}

/** The name of a suite that needs something, with the reason when it is missing: for `describe.skipIf`. */
export function needs(name: string, present: boolean, what: string): string {
  return present ? name : `${name} (skipped: no ${what} here)`;
}
