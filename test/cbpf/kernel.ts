/** Linux's own answer to classic programs, where python3 and SO_ATTACH_FILTER are to be had. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { CbpfInstruction } from "../../src/cbpf/index.ts";

const SCRIPT = fileURLToPath(new URL("attach.py", import.meta.url));

/** For each program 0 or the errno of SO_ATTACH_FILTER. */
export function attachAnswers(programs: readonly (readonly CbpfInstruction[])[]): number[] {
  const input = programs
    .map((program) => JSON.stringify(program.map(({ code, jt, jf, k }) => [code, jt, jf, k])))
    .join("\n");
  const { status, stdout, stderr } = spawnSync("python3", [SCRIPT], {
    input: `${input}\n`,
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`attach.py: ${stderr}`);
  return stdout.trim().split("\n").map(Number);
}

/** Whether this machine's kernel takes and refuses programs. */
export const canAttach: boolean = ((): boolean => {
  try {
    const ret = { code: 6, jt: 0, jf: 0, k: 0 };
    const [good, bad] = attachAnswers([[ret], [{ ...ret, code: 0xff }]]);
    return good === 0 && bad === 22;
  } catch {
    return false;
  }
})();
