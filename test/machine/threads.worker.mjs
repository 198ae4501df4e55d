/** Runs a program of a shared machine: in a thread of its own, from the built package. */
import { parentPort, workerData } from "node:worker_threads";

const { Machine } = await import(workerData.entry);
const { shared, cpu, program, runs, engine } = workerData;
const machine = await Machine.join(shared, { cpu });
const packet = new Uint8Array(64);
const started = performance.now();
let wrong = 0;
for (let run = 0; run < runs; run++) wrong += machine.programs[program].run({ packet, engine }).returnValue;
parentPort.postMessage({ wrong, ms: performance.now() - started }, []);
