/** The native side: the same C sources, compiled by clang (or cc) for this machine without vectorisation. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { benchFolder } from "./files.ts";
import type { Side } from "./measure.ts";

const COMPILERS = ["clang-19", "clang", "cc"] as const;

/** "Scalar": BPF has no vectors, so the native side gets none either. All else is what -O2 does. */
const FLAGS = {
  clang: ["-O2", "-fno-vectorize", "-fno-slp-vectorize"],
  cc: ["-O2", "-fno-tree-vectorize"],
} as const;

export interface NativePrograms {
  /** Compiler and flags, for the report. */
  readonly compiler: string;
  /** The low 32 bits of the result of one run. */
  result(program: string, input: Uint8Array, length: number): number;
  side(program: string, input: Uint8Array, length: number): Side;
  [Symbol.dispose](): void;
}

/** Compiles `bench/SUITE/SOURCE` with its programs; a reason instead if there is no compiler. */
export function compileNative(
  source: string,
  programs: readonly string[],
): NativePrograms | { readonly skipped: string } {
  const command = COMPILERS.find(works);
  if (command === undefined) return { skipped: `no native side: none of ${COMPILERS.join(", ")} is here` };
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  const flags = FLAGS[command === "cc" ? "cc" : "clang"];
  const executable = join(folder, "native");
  try {
    writeFileSync(join(folder, "programs.h"), programs.map((name) => `ROW(${name})\n`).join(""));
    execFileSync(
      command,
      [
        ...flags,
        "-DNATIVE",
        "-w",
        "-I",
        folder,
        benchFolder(source),
        benchFolder("native.c"),
        "-o",
        executable,
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    const why = error instanceof Error ? (error.message.split("\n")[1] ?? error.message) : String(error);
    return { skipped: `no native side: ${command} failed: ${why}` };
  }
  const execute = (program: string, input: Uint8Array, length: number, runs: number): [number, number] => {
    const path = join(folder, program);
    writeFileSync(path, input);
    const out = execFileSync(executable, [program, path, String(length), String(runs)], { encoding: "utf8" });
    const [result, ns] = out.trim().split(" ").map(Number);
    return [result as number, ns as number];
  };
  return {
    compiler: `${version(command)}, ${flags.join(" ")}`,
    result: (program, input, length) => execute(program, input, length, 1)[0],
    side: (program, input, length) => (runs) => execute(program, input, length, runs)[1],
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function works(command: string): boolean {
  try {
    execFileSync(command, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

function version(command: string): string {
  const [line = command] = execFileSync(command, ["--version"], { encoding: "utf8" }).split("\n");
  return line.trim();
}
