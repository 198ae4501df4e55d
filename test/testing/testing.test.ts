import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import {
  assertEntries,
  assertEntry,
  assertPacket,
  assertReturn,
  chainPrograms,
  CheckFailure,
  diffSnapshots,
  eth,
  formatChanges,
  matchers,
  runChain,
  snapshotMaps,
  testChains,
  testObject,
} from "../../src/testing/index.ts";
import { readSuiteResult } from "../../src/testing/chain-result.ts";
import { sameValue, showValue } from "../../src/testing/values.ts";
import "../../src/testing/vitest.ts";
import { ROOT } from "../helpers.ts";

const FIREWALL = readFileSync(join(ROOT, "examples/firewall/firewall.bpf.o"));
const CHAINS = readFileSync(join(ROOT, "test/fixtures/chains.bpf.o"));

const blocked = eth().ipv4({ src: "10.1.2.3" }).tcp({ dport: 80 });
const allowed = eth().ipv4({ src: "192.0.2.1" }).udp({ dport: 53 }).payload("query");

describe("an object under test", () => {
  it("has a clock that stands still, its maps and what changed in them", async () => {
    const { programs, maps, clock, changes } = await testObject(FIREWALL, { cpus: 1 });
    maps["blocked4"]?.set({ prefixlen: 8, addr: [10, 0, 0, 0] }, 9);
    expect(changes()).toEqual([
      { map: "blocked4", key: { prefixlen: 8, addr: [10, 0, 0, 0] }, before: undefined, after: 9 },
    ]);
    const before = clock.now();
    const run = programs["firewall"]!.run({ packet: blocked.bytes() });
    expect(run).toReturnValue("XDP_DROP");
    expect(clock.now()).toBe(before);
    expect(changes().map(({ map }) => map)).toContain("verdicts");
    expect(changes()).toEqual([]);
  });

  it("sets variables for this loading only", async () => {
    const spec = parseObject(FIREWALL);
    const before = spec.variables["drop_later_fragments"]?.get();
    const fragment = eth().ipv4({ offset: 10, protocol: 17 }).payload(64).bytes();
    const kept = await testObject(spec, { variables: { drop_later_fragments: false } });
    const dropped = await testObject(spec, { variables: { drop_later_fragments: true } });
    expect(kept.programs["firewall"]!.run({ packet: fragment })).toReturnValue("XDP_PASS");
    expect(dropped.programs["firewall"]!.run({ packet: fragment })).toReturnValue("XDP_DROP");
    expect(spec.variables["drop_later_fragments"]?.get()).toBe(before);
  });

  it("refuses variables that do not exist", async () => {
    await expect(testObject(FIREWALL, { variables: { colour: 1 } })).rejects.toThrow(
      /: no variable 'colour'; it has /,
    );
  });
});

describe("assertions", () => {
  const run = { returnValue: 1, returnName: "XDP_DROP" };

  it("of results", () => {
    assertReturn(run, "XDP_DROP");
    assertReturn(run, 1n);
    expect(() => assertReturn(run, "XDP_PASS")).toThrow(
      /^the program returned XDP_DROP \(1\), expected XDP_PASS$/,
    );
    expect(run).not.toReturnValue(2);
  });

  it("of packets name the fields", () => {
    const [sent, left] = [
      allowed.bytes(),
      eth().ipv4({ src: "192.0.2.1", ttl: 63 }).udp({ dport: 53 }).payload("query"),
    ];
    assertPacket(sent, allowed);
    expect(() => assertPacket(sent, left)).toThrow(
      /differ:\n {2}ipv4\.ttl {7}expected 63, is 64\n {2}ipv4\.checksum /,
    );
    assertPacket(sent, left, { ignore: ["ipv4.ttl", "ipv4.checksum"] });
    expect(sent).not.toEqualPacket(left);
  });

  it("of maps", async () => {
    const { maps } = await testObject(FIREWALL);
    const map = maps["blocked4"]!;
    map.set({ prefixlen: 8, addr: [10, 0, 0, 0] }, 9);
    assertEntry(map, { prefixlen: 8, addr: [10, 0, 0, 0] }, 9);
    assertEntries(map, [[{ prefixlen: 8, addr: [10, 0, 0, 0] }, 9]]);
    expect(() => assertEntry(map, { prefixlen: 8, addr: [11, 0, 0, 0] }, 9)).toThrow(
      "map 'blocked4' holds nothing at { prefixlen: 8, addr: [11, 0, 0, 0] }, expected 9",
    );
    expect(() => assertEntries(map, [])).toThrow(
      "map 'blocked4' holds other elements:\n  unexpected  { prefixlen: 8, addr: [10, 0, 0, 0] } = 9",
    );
    expect(map).toHaveEntries([[{ prefixlen: 8, addr: Uint8Array.of(10, 0, 0, 0) }, 9n]]);
    expect(maps["verdicts"]).toHaveEntries([]);
  });

  it("tell runners what was expected", () => {
    try {
      assertReturn(run, 2);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(CheckFailure);
      expect(error).toMatchObject({ expected: 2, actual: 1 });
    }
    expect(matchers.toReturnValue(run, 1)).toMatchObject({ pass: true });
  });
});

describe("values", () => {
  it.each([
    [1, 1n, true],
    [1, "1", false],
    [{ a: 1 }, { a: 1n }, true],
    [{ a: 1 }, { a: 1, b: 2 }, false],
    [{ a: 1, b: 2 }, { a: 1 }, false],
    [Uint8Array.of(1, 2), [1, 2], true],
    [null, {}, false],
    [[1], [1, undefined], false],
  ])("%o and %o", (a, b, same) => {
    expect(sameValue(a, b)).toBe(same);
  });

  it("are shown in a line", () => {
    expect(showValue({ a: [1n, "x"], b: Uint8Array.of(1, 255), c: {} })).toBe(
      '{ a: [1, "x"], b: 0x01ff, c: {} }',
    );
  });

  it("snapshots differ in what is new, changed and gone", async () => {
    const before = {
      flows: [
        [1, "a"],
        [2, "b"],
      ],
      other: [],
    } as const;
    const after = {
      flows: [
        [2, "c"],
        [3, "d"],
      ],
    } as const;
    expect(formatChanges(diffSnapshots(before, after))).toBe(
      'flows[2]: "b" -> "c"\nflows[3]: nothing -> "d"\nflows[1]: "a" -> nothing',
    );
    const { maps } = await testObject(FIREWALL);
    expect(Object.keys(snapshotMaps(maps))).toContain("blocked4");
  });
});

describe("tests that are programs", () => {
  it.each(["jit", "interpreter"] as const)("run in alphabetical order: %s", async (engine) => {
    const spec = parseObject(CHAINS, { name: "chains.o" });
    const chains = testChains(spec);
    const loaded = await (await Machine.create({ engine })).load(spec, { programs: chainPrograms(chains) });
    expect(chains.map((chain) => runChain(chain, loaded))).toEqual([
      { name: "a_skipped", status: "skip", tests: [], log: [] },
      { name: "b_good", status: "pass", tests: [{ name: "byte", status: "pass", log: ["42"] }], log: [] },
      { name: "c_bad", status: "fail", tests: [{ name: "byte", status: "fail", log: ["42"] }], log: [] },
    ]);
  });

  it("a test without a check is an error", () => {
    const { programs, ...rest } = parseObject(CHAINS, { name: "chains.o" });
    const some = Object.fromEntries(Object.entries(programs).filter(([name]) => name !== "good_check"));
    expect(() => testChains({ ...rest, programs: some })).toThrow(
      "chains.o: test 'b_good' has no check program",
    );
  });

  it("results end where the message ends, however damaged", () => {
    expect(readSuiteResult(Uint8Array.of(0x0a, 100, 1))).toEqual({ tests: [], log: [] });
    const log = Uint8Array.of(0x12, 7, 0x0a, 5, ...new TextEncoder().encode("%d %u"));
    expect(readSuiteResult(log)).toEqual({ tests: [], log: ["(missing) (missing)"] });
    expect(readSuiteResult(new Uint8Array(64).fill(255))).toEqual({ tests: [], log: [] });
  });
});
