/** Two threads on the per-CPU maps of one machine, against one of them alone: wall-clock time, since that is what threads are for. */
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { Machine, type SharedMachine } from "../../machine/index.ts";
import { benchFolder, benchObject } from "./files.ts";
import { timing } from "./measure.ts";
import { fillOperations } from "./operations.ts";

const PROGRAMS = ["array_hit", "percpu4_add"] as const;
const RUNS = 20_000;
const SAMPLES = 7;

/** What a thread does: it joins the machine, and runs the program whenever it is told to. */
const THREAD = `
const { parentPort, workerData } = require("node:worker_threads");
import(workerData.entry).then(async ({ Machine }) => {
  const machine = await Machine.join(workerData.shared, { cpu: workerData.cpu });
  const packet = new Uint8Array(64);
  parentPort.on("message", ({ program, repeat }) => {
    const start = performance.now();
    machine.programs[program].run({ packet, repeat });
    parentPort.postMessage(performance.now() - start);
  });
  parentPort.postMessage(0);
});`;

export interface WorkersRow {
  readonly program: string;
  /** Runs a second of two threads, as a multiple of those of one. */
  readonly twoVersusOne: number;
}

function startThread(shared: SharedMachine, cpu: number): Worker {
  const entry = pathToFileURL(benchFolder("../dist/machine/index.js")).href;
  return new Worker(THREAD, { eval: true, workerData: { entry, shared, cpu } });
}

const answer = (worker: Worker): Promise<number> =>
  new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(error);
    worker.once("error", failed);
    worker.once("message", (time: number) => {
      worker.off("error", failed);
      resolve(time);
    });
  });

export async function measureWorkers(): Promise<WorkersRow[]> {
  const machine = await Machine.create({ cpus: 3, shared: true });
  const { maps } = await machine.load(benchObject("map-operations/maps.bpf.o"));
  fillOperations(maps);
  const shared = machine.share();
  const threads = [1, 2].map((cpu) => startThread(shared, cpu));
  try {
    await Promise.all(threads.map(answer));
    const time = async (workers: readonly Worker[], program: string): Promise<number> => {
      const done = workers.map(answer);
      for (const worker of workers) worker.postMessage({ program, repeat: RUNS }, []);
      return Math.max(...(await Promise.all(done)));
    };
    const rows: WorkersRow[] = [];
    for (const program of PROGRAMS) {
      await time(threads, program);
      const ratios: number[] = [];
      for (let sample = 0; sample < SAMPLES; sample++) {
        const one = await time(threads.slice(0, 1), program);
        ratios.push((2 * one) / (await time(threads, program)));
      }
      rows.push({ program, twoVersusOne: timing(ratios).median });
    }
    return rows;
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}
