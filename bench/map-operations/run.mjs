/**
 * `node bench/map-operations/run.mjs [--no-kernel]`: nanoseconds of map operations in compiled programs, and the kernel's own for the
 * same object where TEST_RUN is at hand. Each figure is the median of rounds that alternate between the two, less
 * the loop around the operation.
 */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { Machine } = await import(join(ROOT, "dist/machine/index.js"));
const { parseObject } = await import(join(ROOT, "dist/object/index.js"));

const KEYS = 8192;
const ROUNDS = 256;
const REPEAT = 400;
const SAMPLES = 15;
const PREFIXES = 20000;
/** Program, the loop that it is compared with, what it must not exceed. */
const ROWS = [
  ["array_hit", "empty", undefined],
  ["hash4_hit", "empty", 12],
  ["hash16_hit", "empty", 12],
  ["lru4_hit", "empty", undefined],
  ["percpu4_hit", "empty", undefined],
  ["hash4_miss", "empty", undefined],
  ["hash4_update", "empty", 25],
  ["hash16_update", "empty", 25],
  ["lpm6", "lpm_empty", 40],
  ["ring_submit", "empty", 20],
  ["queue_push_pop", "empty", undefined],
];

const spec = parseObject(readFileSync(join(ROOT, "bench/map-operations/maps.bpf.o")), { name: "maps.bpf.o" });
const packet = new Uint8Array(64);
const subjects = [["skep", await ours()]];
if (!process.argv.includes("--no-kernel")) {
  try {
    subjects.push(["kernel", await kernels()]);
  } catch (error) {
    console.log(`no kernel: ${error.message}`);
  }
}

const times = new Map();
const names = [...new Set(ROWS.flatMap(([program, base]) => [program, base]))];
for (let sample = 0; sample < SAMPLES; sample++) {
  for (const [subject, run] of subjects) {
    for (const name of names) {
      const key = `${subject} ${name}`;
      if (!times.has(key)) times.set(key, []);
      times.get(key).push(run(name) / ROUNDS);
    }
  }
}
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
console.log(`${cpus()[0]?.model}, Node.js ${process.version}; ns an operation`);
for (const [program, base, limit] of ROWS) {
  const cells = subjects.map(
    ([subject]) => median(times.get(`${subject} ${program}`)) - median(times.get(`${subject} ${base}`)),
  );
  const [mine, kernel] = cells;
  console.log(
    `${program.padEnd(16)} ${mine.toFixed(1).padStart(7)}${limit === undefined ? "" : ` (at most ${limit})`}`.padEnd(
      40,
    ) +
      (kernel === undefined
        ? ""
        : `kernel ${kernel.toFixed(1).padStart(6)}  ratio ${(mine / kernel).toFixed(2)}`),
  );
}
process.exit(0);

async function ours() {
  const machine = await Machine.create();
  const { programs, maps } = await machine.load(spec);
  fill((name, key, value) => maps[name].update(key, value));
  return (name) => {
    const { durationNs } = programs[name].run({ packet, repeat: REPEAT });
    for (const record of maps.ring.records()) void record;
    return durationNs;
  };
}

async function kernels() {
  const { Kernel, KernelMachine } = await import(join(ROOT, "dist/kernel/index.js"));
  void Kernel;
  const machine = await KernelMachine.create();
  const { programs, maps } = await machine.load(spec);
  fill((name, key, value) => maps[name].update(key, value));
  return (name) => programs[name].run({ packet, repeat: REPEAT }).durationNs;
}

function fill(update) {
  const words = (...list) => new Uint8Array(Uint32Array.from(list).buffer);
  const value = new Uint8Array(8);
  for (let n = 0; n < KEYS; n++) {
    const hashed = Math.imul(n, 0x9e3779b1) >>> 0;
    for (const name of ["hash4", "lru4", "percpu4"]) update(name, words(hashed), value);
    update("hash16", words(hashed, 1, 2, n), value);
  }
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
  // As in a routing table: prefixes of 32 to 64 bits below 2000::/3; addresses of hosts inside and outside of them.
  const prefixes = Array.from({ length: PREFIXES }, () => {
    const bytes = new Uint8Array(20);
    new DataView(bytes.buffer).setUint32(0, 32 + ((random() >>> 20) % 33), true);
    for (let at = 4; at < 12; at++) bytes[at] = random() >>> 24;
    bytes[4] = 0x20 | (bytes[4] & 0x1f);
    return bytes;
  });
  for (const prefix of prefixes) update("routes6", prefix, value);
  for (let n = 0; n < KEYS; n++) {
    const address = prefixes[random() % PREFIXES].slice();
    new DataView(address.buffer).setUint32(0, 128, true);
    for (let at = 12; at < 20; at++) address[at] = random() >>> 24;
    if (n % 4 === 0) address[7] ^= 0x55;
    update("addresses", words(n), address);
  }
}
