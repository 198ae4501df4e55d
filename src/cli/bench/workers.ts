/**
 * Two threads on the per-CPU maps of one machine, against one of them alone: wall-clock time, since that is what threads are for. What
 * two threads on machines of their own reach says how much of it is the computer's: its cores may share more than memory.
 */
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { Machine, type SharedMachine } from "../../machine/index.ts";
import { benchFolder, benchObject } from "./files.ts";
import { timing } from "./measure.ts";
import { fillOperations } from "./operations.ts";

const PROGRAMS = ["array_add_each", "hash_add_each"] as const;
const RUNS = 50_000;
const SAMPLES = 7;

/** What a thread does: it joins two machines, and runs a program of one of them whenever it is told to. */
const THREAD = `
const { parentPort, workerData } = require("node:worker_threads");
import(workerData.entry).then(async ({ Machine }) => {
  const { cpu } = workerData;
  const common = await Machine.join(workerData.common, { cpu });
  const own = await Machine.join(workerData.own, { cpu });
  const packet = new Uint8Array(64);
  parentPort.on("message", ({ program, repeat, alone }) => {
    const start = performance.now();
    (alone ? own : common).programs[program].run({ packet, repeat });
    parentPort.postMessage(performance.now() - start);
  });
  parentPort.postMessage(0);
});`;

export interface WorkersRow {
  readonly program: string;
  /** Runs a second of two threads, as a multiple of those of one. */
  readonly twoVersusOne: number;
  /** The same with a machine for each thread. */
  readonly apart: number;
}

async function machineFor(): Promise<SharedMachine> {
  const machine = await Machine.create({ cpus: 3, shared: true });
  const { maps } = await machine.load(benchObject("map-operations/maps.bpf.o"));
  fillOperations(maps);
  return machine.share();
}

async function startThread(common: SharedMachine, cpu: number): Promise<Worker> {
  const entry = pathToFileURL(benchFolder("../dist/machine/index.js")).href;
  const own = await machineFor();
  const thread = new Worker(THREAD, { eval: true, workerData: { entry, common, own, cpu } });
  await answer(thread);
  return thread;
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
  const common = await machineFor();
  const threads: Worker[] = [];
  try {
    for (const cpu of [1, 2]) threads.push(await startThread(common, cpu));
    const time = async (workers: readonly Worker[], program: string, alone: boolean): Promise<number> => {
      const done = workers.map(answer);
      for (const worker of workers) worker.postMessage({ program, repeat: RUNS, alone }, []);
      return Math.max(...(await Promise.all(done)));
    };
    const rows: WorkersRow[] = [];
    for (const program of PROGRAMS) {
      const ratios: { together: number[]; apart: number[] } = { together: [], apart: [] };
      for (const [kind, alone] of [
        ["together", false],
        ["apart", true],
      ] as const) {
        await time(threads, program, alone);
        for (let sample = 0; sample < SAMPLES; sample++) {
          const one = await time(threads.slice(0, 1), program, alone);
          ratios[kind].push((2 * one) / (await time(threads, program, alone)));
        }
      }
      rows.push({
        program,
        twoVersusOne: timing(ratios.together).median,
        apart: timing(ratios.apart).median,
      });
    }
    return rows;
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}
