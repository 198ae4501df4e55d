/** Every row of the corpus: accepted or rejected as libpcap does, with equal verdicts on packets made to differ. */
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type FilterOptions, compileFilter, linkRow } from "../../src/filter/index.ts";
import { hasCorpus, needs } from "../helpers.ts";
import {
  type FilterRow,
  corpusResolver,
  filterRows,
  hasFilters,
  netmaskOf,
  packetsByLink,
  plainSeeds,
  program,
  straddling,
  verdict,
} from "./corpus.ts";

const present = hasCorpus && hasFilters;
/** More packets for a thorough run: SKEP_FILTER_PACKETS=2000. */
const PACKETS = Number(process.env["SKEP_FILTER_PACKETS"] ?? 24);

describe.skipIf(!present)(needs("libpcap's answers", present, "corpus"), () => {
  const rows = present ? filterRows() : [];
  const groups = new Map<string, FilterRow[]>();
  for (const row of rows) {
    const key = JSON.stringify([row.dlt, row.expr, row.snaplen, row.netmask, row.linuxext]);
    const group = groups.get(key) ?? [];
    group.push(row);
    groups.set(key, group);
  }
  const resolver = present ? corpusResolver() : undefined;
  const options = (row: FilterRow): FilterOptions => ({
    linktype: row.dlt,
    snaplen: row.snaplen,
    netmask: netmaskOf(row),
    resolver,
    live: row.linuxext === true,
    compat: "libpcap",
  });
  /** libpcap's optimiser calls a filter that nothing can match an error; here it is a warning. */
  const neverMatches = (row: FilterRow): boolean => /rejects all packets/.test(row.error ?? "");

  it("accepts what libpcap accepts and rejects what it rejects", () => {
    const wrong: string[] = [];
    for (const row of rows) {
      let accepted = true;
      try {
        const filter = compileFilter(row.expr, options(row));
        if (neverMatches(row) && !filter.warnings.some((warning) => warning.code === "never")) {
          wrong.push(`${row.dlt} ${row.expr}: no warning that nothing matches`);
        }
      } catch (error) {
        if (!(error instanceof BpfError) || error.where.column === undefined) throw error;
        accepted = false;
      }
      if (accepted !== (row.expected !== null || neverMatches(row))) wrong.push(`${row.dlt} ${row.expr}`);
    }
    expect(wrong).toEqual([]);
  }, 60_000);

  it(
    "gives the verdicts of libpcap's unoptimised programs, optimised or not",
    () => {
      const packets = packetsByLink(PACKETS);
      expect(packets.size).toBeGreaterThan(20);
      const wrong: string[] = [];
      let compared = 0;
      for (const group of groups.values()) {
        const row = group.find((each) => each.optimize === 0) ?? group[0];
        if (row?.expected === null || row === undefined) continue;
        const theirs = program(row.expected);
        const optimised = compileFilter(row.expr, options(row)).cbpf;
        const plain = compileFilter(row.expr, { ...options(row), optimize: false }).cbpf;
        const seeds = [...(packets.get(linkRow(row.dlt)?.dlt ?? -1) ?? []), ...plainSeeds()];
        const short = seeds.filter((packet) => packet.length < 400);
        const tests = [
          ...seeds,
          ...straddling(theirs, short, PACKETS, 1),
          ...straddling(optimised, short, PACKETS >> 1, 2),
        ];
        for (const packet of tests) {
          const expected = verdict(theirs, packet);
          compared++;
          if (verdict(optimised, packet) === expected && verdict(plain, packet) === expected) continue;
          wrong.push(`${row.dlt} ${row.expr} (${packet.length} bytes)`);
          break;
        }
      }
      expect(wrong).toEqual([]);
      expect(compared).toBeGreaterThan(20_000);
    },
    60_000 + PACKETS * 600,
  );

  it("is shorter than libpcap's on the geometric mean", () => {
    let [sum, count, longer] = [0, 0, 0];
    for (const row of rows) {
      if (row.optimize === 0 || row.expected === null) continue;
      const { length } = compileFilter(row.expr, options(row)).cbpf;
      sum += Math.log(length / row.expected.length);
      count++;
      if (length > row.expected.length) longer++;
    }
    expect(Math.exp(sum / count)).toBeLessThan(0.95);
    // Those where libpcap's optimiser drops a load that may fail; see docs/filters.md.
    expect(longer / count).toBeLessThan(0.0195);
  }, 60_000);
});
