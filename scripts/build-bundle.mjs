/**
 * Bundles the command (dist/cli) for bin/skep.js: what `skep run` needs in one file, what else there is in files of its own.
 * Two hundred modules take Node.js 130 ms to find and link, one takes 20.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { build } from "vite";

const OUT = "dist/bundle";

/** A module and all that it imports statically. tsc writes imports in one way only. */
function reach(path, reached = new Set()) {
  if (reached.has(path)) return reached;
  reached.add(path);
  for (const [, target] of readFileSync(path, "utf8").matchAll(
    /^(?:import|export|\}) .*?"(\.[^"]+\.js)";$/gm,
  )) {
    reach(resolve(dirname(path), target), reached);
  }
  return reached;
}

// The verifier too, which is loaded when a program is: nearly always.
const first = ["cli/main.js", "cli/commands/run.js", "verifier/index.js"].reduce(
  (reached, path) => reach(resolve("dist", path), reached),
  new Set(),
);

/** What source has as base64 lies beside the bundle as it is: 100 kB less to read and decode, here and in what V8 has compiled. */
const modules = new Map();
const plainModules = {
  name: "plain-modules",
  load(id) {
    const module = /([a-z-]+\.wasm)\.js$/.exec(id)?.[1];
    if (module === undefined) return null;
    const [, exported, base64] = /export const (\w+) = .*"([A-Za-z0-9+/=]+)"/s.exec(readFileSync(id, "utf8"));
    modules.set(module, Buffer.from(base64, "base64"));
    return `import { readFileSync } from "node:fs";
import { join } from "node:path";
export function ${exported}() {
  const { buffer, byteOffset, length } = readFileSync(join(__dirname, "${module}"));
  return new Uint8Array(buffer, byteOffset, length);
}`;
  },
};

await build({
  configFile: false,
  plugins: [plainModules],
  logLevel: "error",
  ssr: { noExternal: true, external: ["koffi"] },
  build: {
    ssr: "dist/cli/main.js",
    outDir: OUT,
    emptyOutDir: true,
    target: "node20",
    rolldownOptions: {
      output: {
        format: "cjs",
        entryFileNames: "skep-[hash].js",
        chunkFileNames: "[name]-[hash].js",
        // Names of functions and classes stay: they are what a stack trace shows.
        minify: {
          compress: false,
          mangle: { toplevel: false, keepNames: true },
          codegen: { removeWhitespace: true },
        },
        codeSplitting: { groups: [{ name: "base", test: (id) => first.has(id) }] },
      },
    },
  },
});

for (const [name, bytes] of modules) writeFileSync(join(OUT, name), bytes);
const files = readdirSync(OUT).filter((name) => name.endsWith(".js"));
for (const name of files) {
  const text = readFileSync(join(OUT, name), "utf8");
  const ascii = text.replace(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  if (ascii !== text) writeFileSync(join(OUT, name), ascii);
}
const main = files.find((name) => name.startsWith("skep-"));
// As Node.js would wrap it, which costs a copy of the text at each start.
const mainPath = join(OUT, main);
writeFileSync(
  mainPath,
  `(function (exports, require, module, __filename, __dirname) {${readFileSync(mainPath, "latin1")}\n})`,
);
writeFileSync(join(OUT, "package.json"), `${JSON.stringify({ type: "commonjs", main })}\n`);
// Leaves what V8 has compiled (see bin/skep.js).
execFileSync(process.execPath, [
  "bin/skep.js",
  "run",
  "examples/firewall/firewall.bpf.o",
  "-r",
  "examples/captures/web.pcap",
]);
console.log(`${OUT}: ${files.length} files`);
