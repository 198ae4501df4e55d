/**
 * `node bench/object/load.mjs [OBJECT]`: how long it takes to open the kernel's types, and to parse, link and relocate an object
 * against them. Without OBJECT the tools of test/object/core are compiled (clang-19, bpftool): 30 programs of tracing and
 * networking tools against vmlinux.h. The first run of a process and the median of many.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { parseBtf, formatC } = await import(join(ROOT, "dist/btf/index.js"));
const { linkProgram, parseObject, relocate } = await import(join(ROOT, "dist/object/index.js"));
const VMLINUX = "/sys/kernel/btf/vmlinux";
const RUNS = 31;

const types = readFileSync(VMLINUX);
const bytes = process.argv[2] === undefined ? compileTools() : readFileSync(process.argv[2]);

console.log(`${cpus()[0]?.model}, ${cpus().length} CPUs, Node.js ${process.version}`);
let target;
measure(`open vmlinux (${size(types)})`, () => {
  target = parseBtf(types, { name: "vmlinux" });
});
measure("open vmlinux and find task_struct", () => {
  parseBtf(types, { name: "vmlinux" }).find("task_struct", "struct");
});
let relocations = 0;
let programs = 0;
measure(`parse, link and relocate (${size(bytes)})`, () => {
  relocations = 0;
  const spec = parseObject(bytes, { name: "tools" });
  const names = Object.keys(spec.programs);
  programs = names.length;
  for (const name of names) {
    const linked = relocate(linkProgram(spec, name, { externs: "keep" }), { target });
    relocations += linked.coreRelocations.length;
  }
});
console.log(`${programs} programs, ${relocations} relocations`);

function measure(name, action) {
  const times = [];
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now();
    action();
    times.push(performance.now() - start);
  }
  const sorted = times.toSorted((a, b) => a - b);
  const [first, median, least] = [times[0], sorted[RUNS >> 1], sorted[0]].map((time) => time.toFixed(1));
  console.log(`${name.padEnd(45)} first ${first} ms, median ${median} ms, least ${least} ms`);
}

function size({ length }) {
  return `${Math.round(length / 1000)} kB`;
}

function compileTools() {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  try {
    writeFileSync(join(folder, "vmlinux.h"), formatC(parseBtf(types)));
    const flags = ["-O2", "-g", "-target", "bpf", "-D__TARGET_ARCH_x86", `-I${folder}`];
    const source = join(ROOT, "test/object/core/tools.bpf.c");
    const out = join(folder, "tools.o");
    const { status, stderr } = spawnSync("clang-19", [...flags, "-c", source, "-o", out], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`clang-19: ${stderr}`);
    spawnSync("llvm-strip-19", ["-g", out]);
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
