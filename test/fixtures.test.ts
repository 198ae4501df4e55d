import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FIXTURE_CASES, FIXTURE_PACKETS } from "./fixtures/cases.ts";
import { hasTool, needs, ROOT } from "./helpers.ts";

const objectsBelow = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith(".bpf.o"))
    .map((name) => join(folder, name));
const OBJECTS = [...objectsBelow("examples"), ...objectsBelow("test/fixtures")];

describe("fixtures", () => {
  test("no object knows the machine that it was built on", () => {
    for (const object of OBJECTS) {
      const text = readFileSync(join(ROOT, object), "latin1");
      expect(
        `${object}: ${/(?:^|\0|\s)\/(?:usr|home|root|work|tmp|var|opt|build|Users)\/\S*/.exec(text)?.[0] ?? ""}`,
      ).toBe(`${object}: `);
    }
  });

  test("every object named by a case is there, and the packets are what they should be", () => {
    for (const { object } of FIXTURE_CASES) expect(OBJECTS).toContain(join("test/fixtures", object));
    expect(FIXTURE_PACKETS.tcp).toHaveLength(74);
    expect(FIXTURE_PACKETS.zeros).toHaveLength(64);
  });

  test("every fixture is in the table of the README", () => {
    const readme = readFileSync(join(ROOT, "test/fixtures/README.md"), "utf8");
    for (const name of readdirSync(join(ROOT, "test/fixtures")))
      if (name.endsWith(".bpf.o")) expect(readme).toContain(`\`${name.replace(/\.bpf\.o$/, "")}\``);
  });
});

const clang = hasTool("clang-19");

describe.skipIf(!clang)(needs("fixtures are built from their sources", clang, "clang-19"), () => {
  const script = join(ROOT, "scripts/build-fixtures.mjs");

  test("--check finds nothing stale", () => {
    const done = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" });
    // Another clang makes other bytes; only this one's objects can be compared.
    const stale = done.stdout
      .split("\n")
      .filter((line) => line.includes(": ") && !line.includes("another clang"));
    expect(stale).toEqual([]);
    expect(done.stdout).toMatch(/\d+ objects, \d+ stale, 0 failed/);
  }, 300_000);

  test("a wrong option is named", () => {
    const done = spawnSync(process.execPath, [script, "--chekc"], { encoding: "utf8" });
    expect(done.status).toBe(2);
    expect(done.stderr).toContain("--chekc");
  });
});

const objdump = hasTool("llvm-objdump-19");

describe.skipIf(!objdump)(needs("fixtures are what they claim", objdump, "llvm-objdump-19"), () => {
  const listing = (object: string) =>
    execFileSync(
      "llvm-objdump-19",
      ["-d", "--mcpu=v4", "--no-show-raw-insn", join(ROOT, "test/fixtures", object)],
      {
        encoding: "utf8",
      },
    );

  /** The successors of every instruction of a function in a listing, by instruction number. */
  function edges(text: string, name: string): Map<number, number[]> {
    const body = (text.split(`<${name}>:\n`)[1] ?? "").split("\n\n")[0] ?? "";
    const rows = body.split("\n").flatMap((line) => {
      const match = /^\s*(\d+):\s+(.*)$/.exec(line);
      return match ? [{ at: Number(match[1]), text: match[2] ?? "" }] : [];
    });
    const graph = new Map<number, number[]>();
    rows.forEach(({ at, text: instruction }, i) => {
      const next = rows[i + 1]?.at;
      const jump = /goto ([+-]0x[0-9a-f]+)/.exec(instruction)?.[1];
      const target = jump === undefined ? [] : [at + 1 + Number(jump.slice(1)) * (jump[0] === "-" ? -1 : 1)];
      const falls = next !== undefined && !/^(?:goto|exit)/.test(instruction);
      graph.set(at, [...target, ...(falls ? [next] : [])]);
    });
    return graph;
  }

  /** Reducible: removing loops on themselves and merging nodes with one predecessor leaves a single node. */
  function reducible(graph: Map<number, number[]>): boolean {
    const next = new Map([...graph].map(([node, list]) => [node, new Set(list)]));
    const entry = Math.min(...next.keys());
    for (let changed = true; changed; ) {
      changed = false;
      for (const [node, list] of next) changed = list.delete(node) || changed;
      for (const node of next.keys()) {
        const before = [...next].filter(([, list]) => list.has(node));
        const only = before.length === 1 ? before[0] : undefined;
        if (node === entry || only === undefined) continue;
        for (const after of next.get(node) ?? []) only[1].add(after);
        only[1].delete(node);
        next.delete(node);
        changed = true;
      }
    }
    return next.size === 1;
  }

  test("irreducible loops stayed irreducible, and others are not", () => {
    const irreducible = listing("irreducible.bpf.o");
    for (const name of ["two_entries", "either_end", "machine", "nested"])
      expect(`${name} ${reducible(edges(irreducible, name))}`).toBe(`${name} false`);
    const control = listing("control.bpf.o");
    for (const name of ["comparisons", "nested_loops", "switches", "early_exits", "long_loop"])
      expect(`${name} ${reducible(edges(control, name))}`).toBe(`${name} true`);
  });

  test("the large function is large", () => {
    expect(edges(listing("large.bpf.o"), "large").size).toBeGreaterThan(4000);
  });

  test.each([
    ["signed.bpf.o", ["s/=", "s%=", "(s8)", "bswap64", "gotol", "*(s16 *)"]],
    [
      "atomics.bpf.o",
      ["atomic_fetch_add", "xchg_64", "cmpxchg_64", "cmpxchg32_32", "xchg32_32", "atomic_fetch_xor((u32 *)"],
    ],
    ["atomics.v1.bpf.o", ["lock *(u64 *)", "lock *(u32 *)"]],
    ["bytes.bpf.o", ["be16", "be32", "be64", "le16", "le32", "le64"]],
    ["may-goto.bpf.o", ["may_goto"]],
    ["arena.bpf.o", ["addr_space_cast"]],
    ["socket.bpf.o", ["*(u8 *)skb[", "*(u16 *)skb[", "*(u32 *)skb["]],
  ])("%s has the instructions it is there for", (object, wanted) => {
    const text = listing(object);
    expect(wanted.filter((word) => !text.includes(word))).toEqual([]);
  });
});
