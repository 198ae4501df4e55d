/** Suite `start`: from the start of a process to the end of a short `skep run`, beside what Node.js alone takes. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PcapWriter } from "../../capture/index.ts";
import { milliseconds } from "../../elapsed.ts";
import { BpfError } from "../../errors.ts";
import { benchFolder } from "./files.ts";
import { type Timing, timing } from "./measure.ts";
import { packet } from "./packets.ts";
import { type Suite, type SuiteContext, ns, ratio } from "./suite.ts";

const PACKETS = 100;
const OBJECT = "packets/packets.bpf.o";

/** What is started. Of the programs the smallest and one of the larger ones; NODE is the process without any of skep. */
const NODE = "node, an empty script";
const COMMANDS = [
  { name: NODE, args: undefined },
  { name: "skep --version", args: ["--version"] },
  { name: "skep run, 2 instructions", args: ["-p", "pass"] },
  { name: "skep run, load balancer, verified", args: ["-p", "load_balancer"] },
  { name: "skep run, load balancer, trusted", args: ["-p", "load_balancer", "--unverified", "trusted"] },
] as const;

/** The start is short and the rest of the machine matters: more samples than of other suites. */
const SAMPLES_PER_ROUND = 3;

export interface StartRow {
  readonly command: string;
  /** Nanoseconds by the clock, not of CPU: the threads of the JavaScript engine work beside it. */
  readonly wall: Timing;
  /** Beyond Node.js alone. */
  readonly beyond: number;
}

export const startSuite: Suite = {
  name: "start",
  summary: "from the start of the process to the result of a short run",
  async run(context) {
    const bundled = existsSync(benchFolder("../dist/bundle/package.json"));
    const rows = measure(context);
    const node = rows[0] as StartRow;
    return {
      json: { bundled, rows },
      sections: [
        {
          title: "From the start of the process to its end, by the clock",
          head: ["command", "median", "lowest", "beyond node", "of node"],
          rows: rows.map(({ command, wall, beyond }) => [
            command,
            ns(wall.median),
            ns(wall.lowest),
            ns(beyond),
            ratio(wall.median / node.wall.median),
          ]),
          notes: bundled ? [] : ["Without dist/bundle (npm run build): modules are found one by one."],
        },
      ],
    };
  },
};

function measure({ progress, rounds }: SuiteContext): StartRow[] {
  const folder = mkdtempSync(join(tmpdir(), "skep-start-"));
  try {
    const capture = join(folder, "start.pcap");
    const empty = join(folder, "empty.cjs");
    writeFileSync(empty, "");
    const writer = new PcapWriter();
    for (let index = 0; index < PACKETS; index++) writer.packet({ data: packet(), timestampNs: 0n });
    writeFileSync(capture, writer.take());
    const run = [benchFolder("../bin/skep.js"), "run", benchFolder(OBJECT), "-r", capture];
    const lines = COMMANDS.map(({ args }) => {
      if (args === undefined) return [empty];
      return args[0] === "--version" ? [run[0] as string, ...args] : [...run, ...args];
    });
    for (const line of lines) start(line);
    const samples = COMMANDS.map((): number[] => []);
    for (let round = 0; round < rounds * SAMPLES_PER_ROUND; round++) {
      progress(round, rounds * SAMPLES_PER_ROUND, "processes");
      lines.forEach((line, index) => samples[index]?.push(start(line)));
    }
    const times = samples.map(timing);
    return COMMANDS.map(({ name }, index) => {
      const wall = times[index] as Timing;
      return { command: name, wall, beyond: wall.median - (times[0] as Timing).median };
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Nanoseconds that a process takes; output goes through a pipe, as it does from a script. */
function start(line: readonly string[]): number {
  const begin = milliseconds();
  const { status, stderr } = spawnSync(process.execPath, line, { encoding: "utf8" });
  const spent = (milliseconds() - begin) * 1e6;
  if (status !== 0) throw new BpfError("io", `bench: node ${line.join(" ")}: status ${status}: ${stderr}`);
  return spent;
}
