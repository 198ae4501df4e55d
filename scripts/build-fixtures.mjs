#!/usr/bin/env node
/**
 * Rebuilds every BPF object of `bench/`, `examples/` and `test/fixtures/` from the C source beside it.
 *
 *     node scripts/build-fixtures.mjs            compile, write what changed, print its name
 *     node scripts/build-fixtures.mjs --check    compile, write nothing, exit 1 when an object is stale
 *     node scripts/build-fixtures.mjs alu loops  only the objects whose path contains one of the words
 *
 * `x.bpf.c` becomes `x.bpf.o`, unless its first lines say otherwise:
 *
 *     // build: x.bpf.o -mcpu=v4
 *     // build: x.eb.bpf.o -target bpfeb
 *
 * One object a line; the flags are appended to FLAGS, so the last word counts. The output is the same bytes on every
 * machine with the same clang and headers: the compiler runs in the source's own folder and every include folder
 * is mapped to a relative name, so no absolute path gets into the debug information. One thing clang 19 leaves to
 * chance: forward declarations stand in .BTF in the order of the compiler's own heap, so objects that are the same
 * without .BTF and .BTF.ext are the same (DWARF tells all types once more).
 */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FOLDERS = ["bench", "examples", "test/fixtures"];
const CLANG = process.env.CLANG ?? "clang-19";
const OBJCOPY = CLANG.replace("clang", "llvm-objcopy");

const ARCH = { x64: "x86_64", arm64: "aarch64" }[process.arch] ?? process.arch;
const MULTIARCH = `/usr/include/${ARCH}-linux-gnu`;

const FLAGS = [
  "-O2",
  "-g",
  "-target",
  "bpf",
  "-mcpu=v3",
  "-Wall",
  "-Werror",
  "-Wno-unused-function",
  "-ferror-limit=4",
  "-I",
  MULTIARCH,
  "-ffile-compilation-dir=.",
  "-fdebug-prefix-map=/usr/include=include",
  `-fdebug-prefix-map=${MULTIARCH}=include`,
];

/** The sources below a folder, sorted so that the output never depends on the file system. */
function sources(folder) {
  return readdirSync(join(ROOT, folder), { recursive: true })
    .map(String)
    .filter((path) => path.endsWith(".bpf.c"))
    .sort()
    .map((path) => join(ROOT, folder, path));
}

/** The objects that a source asks for: its `// build:` lines, or one object of the same name. */
function builds(source) {
  const lines = readFileSync(source, "utf8").split("\n").slice(0, 20);
  const asked = lines.flatMap((line) => {
    const words = /^\/\/ build:\s+(.+)$/.exec(line)?.[1]?.trim().split(/\s+/);
    return words ? [{ source, object: join(dirname(source), words[0]), flags: words.slice(1) }] : [];
  });
  return asked.length > 0 ? asked : [{ source, object: source.replace(/\.c$/, ".o"), flags: [] }];
}

/** Whether an object names another clang: the debug information holds the compiler's version, without -g nothing does. */
function foreign(object, version) {
  return object.includes("clang version") && !object.includes(version);
}

/** An object's bytes without what clang leaves to chance; undefined where there is no llvm-objcopy. */
function withoutBtf(object, out) {
  try {
    execFileSync(OBJCOPY, ["--remove-section=.BTF", "--remove-section=.BTF.ext", object, out]);
    return readFileSync(out);
  } catch {
    return undefined;
  }
}

async function main() {
  const words = process.argv.slice(2);
  const check = words.includes("--check");
  const wanted = words.filter((word) => !word.startsWith("--"));
  const unknown = words.find((word) => word.startsWith("--") && word !== "--check");
  if (unknown !== undefined) {
    console.error(`build-fixtures: unknown option ${unknown} (known: --check)`);
    return 2;
  }

  let version;
  try {
    version = execFileSync(CLANG, ["--version"], { encoding: "utf8" }).split("\n")[0].trim();
  } catch {
    console.error(
      `build-fixtures: no ${CLANG} here; set CLANG, or install it (Debian: apt-get install clang-19)`,
    );
    return check ? 0 : 2;
  }

  const todo = FOLDERS.flatMap(sources)
    .flatMap(builds)
    .filter(
      ({ object }) => wanted.length === 0 || wanted.some((word) => relative(ROOT, object).includes(word)),
    );
  const temporary = mkdtempSync(join(tmpdir(), "skep-fixtures-"));
  const changed = [];
  const failed = [];

  const buildOne = async ({ source, object, flags }, index) => {
    const out = join(temporary, `${index}.o`);
    try {
      const { stderr } = await promisify(execFile)(
        CLANG,
        [...FLAGS, ...flags, "-c", basename(source), "-o", out],
        { cwd: dirname(source), encoding: "utf8" },
      );
      if (stderr) process.stderr.write(stderr);
    } catch (error) {
      failed.push(`${relative(ROOT, object)}: ${error.stderr ?? error.message}`);
      return;
    }
    const fresh = readFileSync(out);
    let old;
    try {
      old = readFileSync(object);
    } catch {
      old = undefined;
    }
    if (old !== undefined && fresh.equals(old)) return;
    if (old?.length === fresh.length) {
      const bare = withoutBtf(out, `${out}.fresh`);
      if (bare !== undefined && withoutBtf(object, `${out}.old`)?.equals(bare)) return;
    }
    const other = old !== undefined && foreign(old, version);
    const why = old === undefined ? "new" : other ? `was built by another clang than ${version}` : "changed";
    changed.push(`${relative(ROOT, object)}: ${why} (${fresh.length} bytes)`);
    if (!check) writeFileSync(object, fresh);
  };

  try {
    let next = 0;
    const worker = async () => {
      while (next < todo.length) {
        const index = next++;
        await buildOne(todo[index], index);
      }
    };
    await Promise.all([worker(), worker()]);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }

  for (const line of failed.sort()) console.error(line);
  for (const line of changed.sort()) console.log(line);
  const stale = changed.length;
  console.log(`${todo.length} objects, ${stale} ${check ? "stale" : "written"}, ${failed.length} failed`);
  return failed.length > 0 || (check && stale > 0) ? 1 : 0;
}

process.exitCode = await main();
