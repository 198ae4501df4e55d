/**
 * `node bench/cbpf/capture.mjs CAPTURE [EXPRESSION] [ROUNDS]`: whole commands in turn, `skep filter -r … -w /dev/null` and
 * tcpdump's; seconds on the clock and of the processor, medians.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const [capture, expression = "tcp port 80", rounds = "5"] = process.argv.slice(2);
if (capture === undefined) throw new Error("which capture?");
const skep = fileURLToPath(new URL("../../bin/skep.js", import.meta.url));
const sides = {
  skep: [process.execPath, skep, "filter", "-r", capture, expression, "-w", "/dev/null"],
  tcpdump: ["tcpdump", "-r", capture, "-w", "/dev/null", expression],
};
const figures = { skep: [], tcpdump: [] };
for (let round = 0; round < Number(rounds); round++) {
  for (const [name, [command, ...args]] of Object.entries(sides)) {
    const start = performance.now();
    // The shell's `times` tells what its children took.
    const script = 'trap "times >&2" EXIT; "$@" >/dev/null 2>&1';
    const { stderr, status } = spawnSync("bash", ["-c", script, "bash", command, ...args], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`${name} failed`);
    const wall = (performance.now() - start) / 1000;
    const cpu = [...stderr.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
      (sum, [, min, s]) => sum + 60 * min + Number(s),
      0,
    );
    figures[name].push([wall, cpu]);
  }
}
const median = (name, column) =>
  figures[name].map((row) => row[column]).sort((a, b) => a - b)[figures[name].length >> 1];
for (const [column, what] of ["on the clock", "of the processor"].entries()) {
  const [ours, theirs] = [median("skep", column), median("tcpdump", column)];
  const [a, b, ratio] = [ours, theirs, ours / theirs].map((number) => number.toFixed(2));
  console.log(`seconds ${what}: skep ${a}, tcpdump ${b}, ratio ${ratio}`);
}
