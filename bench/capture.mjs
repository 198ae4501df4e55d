/**
 * `npm run bench:capture`: a 100 MB capture through the firewall example, end to end, in processes of their own.
 * Prints the median of the runs, the spread, where the time goes, and the peak of memory.
 */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const RUNS = 7;
const SIZE = 100_000_000;

const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
try {
  const capture = join(folder, "large.pcap");
  const seed = readFileSync(join(ROOT, "examples/captures/web.pcap"));
  const file = openSync(capture, "w");
  writeSync(file, seed.subarray(0, 24));
  for (let written = 24; written < SIZE; written += seed.length - 24) writeSync(file, seed, 24);
  closeSync(file);

  // The command, with the peak of its memory on standard error.
  const code = `
    const { main } = await import(${JSON.stringify(join(ROOT, "dist/cli/main.js"))});
    process.exitCode = await main(process.argv.slice(1));
    process.stderr.write(String(process.resourceUsage().maxRSS));`;
  const object = join(ROOT, "examples/firewall/firewall.bpf.o");
  const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

  console.log(
    `${cpus()[0]?.model}, ${cpus().length} CPUs, Node.js ${process.version}; median of ${RUNS} runs (min to max)`,
  );
  for (const engine of ["jit", "interp"]) {
    const runs = [];
    for (let run = 0; run < RUNS; run++) {
      const start = performance.now();
      const { stdout, stderr } = spawnSync(
        process.execPath,
        ["--input-type=module", "-e", code, "run", object, "-r", capture, "--engine", engine, "--json"],
        { encoding: "utf8" },
      );
      runs.push({ ...JSON.parse(stdout), wallMs: performance.now() - start, maxRssKb: Number(stderr) });
    }
    const show = (of, digits = 0) => {
      const values = runs.map(of);
      return `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;
    };
    console.log(`\n${engine}: ${runs[0].packets} packets, ${runs[0].bytes} bytes`);
    console.log(`  million packets/s    ${show((run) => run.packetsPerSecond / 1e6, 2)}`);
    console.log(`  whole process, ms    ${show((run) => run.wallMs)}`);
    console.log(`  reading and running  ${show((run) => run.totalMs)}`);
    console.log(`  of it in the core    ${show((run) => run.runMs)}`);
    console.log(`  ns a packet there    ${show((run) => (run.runMs * 1e6) / run.packets)}`);
    console.log(`  peak memory, MB      ${show((run) => run.maxRssKb / 1e3)}`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
