/** The table of link types against libpcap's header and against libpcap itself. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  LINKTYPES,
  type Linktype,
  dltOf,
  findLinktype,
  findLinktypeByName,
  linktypeName,
  linktypeOf,
  maxPacketOf,
} from "../../src/capture/index.ts";
import { hasTool, needs } from "../helpers.ts";
import { pcapHeader } from "./build.ts";

const rows: readonly Linktype[] = LINKTYPES;

test("numbers ascend, names are unique in both vocabularies together", () => {
  expect(rows.map((row) => row.linktype)).toEqual(rows.map((row) => row.linktype).sort((a, b) => a - b));
  expect(new Set(rows.map((row) => row.linktype)).size).toBe(rows.length);
  const names = rows.flatMap((row) => [row.name, row.dltName ?? [], row.dltAliases ?? []].flat());
  expect(new Set(names).size).toBe(names.length);
  for (const row of rows) {
    expect(row.name).toMatch(/^[A-Z0-9_]+$/);
    expect(row.about.length).toBeGreaterThan(0);
    expect(row.dltName).not.toBe(row.name);
    expect(row.dlt).not.toBe(row.linktype);
  }
});

test("rows are found by number and by either name", () => {
  for (const row of rows) {
    expect(findLinktype(row.linktype)).toBe(row);
    expect(findLinktypeByName(row.name)).toBe(row);
    expect(findLinktypeByName(`linktype_${row.name.toLowerCase()}`)).toBe(row);
    expect(findLinktypeByName(`DLT_${row.dltName ?? row.name}`)).toBe(row);
    expect(linktypeName(row.linktype)).toBe(row.name);
    expect(linktypeOf(dltOf(row.linktype))).toBe(row.linktype);
  }
  expect(findLinktype(208)).toBeUndefined();
  expect(findLinktypeByName("NOTHING")).toBeUndefined();
  expect(linktypeName(208)).toBe("208");
  expect([dltOf(101), linktypeOf(12), dltOf(5000), linktypeOf(5000)]).toEqual([12, 101, 5000, 5000]);
  expect([maxPacketOf(1), maxPacketOf(231), maxPacketOf(99_999)]).toEqual([262_144, 1 << 27, 262_144]);
});

const HEADER = "/usr/include/pcap/dlt.h";
const hasHeader = existsSync(HEADER);

test.skipIf(!hasHeader)(needs("every DLT_ name of pcap/dlt.h", hasHeader, "pcap/dlt.h"), () => {
  const text = readFileSync(HEADER, "utf8");
  // Each name with all its values: some have others on other systems.
  const values = new Map<string, Set<number>>();
  for (const [, name, value] of text.matchAll(/^#\s*define\s+DLT_(\w+)\s+(\d+)\b/gm)) {
    values.set(name!, (values.get(name!) ?? new Set()).add(Number(value)));
  }
  expect(values.size).toBeGreaterThan(180);
  // Limits, not types; and one that has no LINKTYPE_ value.
  const absent = new Set(["MATCHING_MIN", "MATCHING_MAX", "REDBACK_SMARTEDGE"]);
  // The header has NetBSD's value only, to which libpcap translates nowhere.
  values.delete("HIPPI");
  for (const [name, numbers] of values) {
    const row = findLinktypeByName(name);
    if (row === undefined) expect(absent, name).toContain(name);
    else expect(numbers, name).toContain(dltOf(row.linktype));
  }
});

const hasTcpdump = hasTool("tcpdump");

describe.skipIf(!hasTcpdump)(needs("libpcap", hasTcpdump, "tcpdump"), () => {
  test("calls each link type of a file by our DLT_ name", () => {
    const answers = rows.map((row) => {
      const input = pcapHeader({ linktype: row.linktype });
      const { stderr } = spawnSync("tcpdump", ["-r", "-", "-w", "/dev/null"], { input, encoding: "utf8" });
      // "reading from file -, link-type EN10MB (Ethernet)" when libpcap has a name for it, the number when not.
      const [, said] = /link-type (\S+?)[, ]/.exec(`${stderr} `) ?? [];
      return [row.linktype, said?.trim(), [row.dltName ?? row.name, ...(row.dltAliases ?? [])]] as const;
    });
    const named = answers.filter(([, said]) => said !== undefined && !/^\d+$/.test(said));
    expect(named.length).toBeGreaterThan(120);
    for (const [linktype, said, ours] of named) expect(ours, String(linktype)).toContain(said);
    // Where it has no name it prints the DLT_ value.
    for (const [linktype, said] of answers)
      if (said && /^\d+$/.test(said)) expect(Number(said)).toBe(dltOf(linktype));
  });
});
