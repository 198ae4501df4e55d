/** Every capture of the corpus against tcpdump, and variants that Wireshark's tools make of some. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type CapturedPacket, decodePacketOptions, readCaptureSync } from "../../src/capture/index.ts";
import { CORPUS, hasCorpus, hasTool, needs } from "../helpers.ts";
import { hex } from "./build.ts";

const FOLDER = join(CORPUS, "captures");
const files = hasCorpus ? readdirSync(FOLDER).filter((name) => /\.pcap(ng)?$/.test(name)) : [];
const hasTcpdump = hasTool("tcpdump");
const hasEditcap = hasTool("editcap") && hasTool("mergecap") && hasTool("tshark");

interface Row {
  time: string;
  original: number;
  data: string;
}

const decimal = (time: bigint): string =>
  `${time / 1_000_000_000n}.${String(time % 1_000_000_000n).padStart(9, "0")}`;

const rowsOf = (packets: Iterable<CapturedPacket>): Row[] =>
  Array.from(packets, (packet) => ({
    time: decimal(packet.timestampNs),
    original: packet.originalLength,
    data: hex(packet.data),
  }));

/** What libpcap makes of a file: it writes a copy in the machine's own order with nanoseconds, read here in six lines. */
function tcpdump(path: string): { rows: Row[]; linktype: number } {
  const answer = spawnSync("tcpdump", ["-r", path, "-w", "-", "--time-stamp-precision=nano"], {
    maxBuffer: 1 << 28,
  });
  expect(answer.status, answer.stderr.toString()).toBe(0);
  const bytes = answer.stdout;
  expect(bytes.readUInt32LE(0)).toBe(0xa1b23c4d);
  const rows: Row[] = [];
  for (let at = 24; at < bytes.length; ) {
    const captured = bytes.readUInt32LE(at + 8);
    const time = BigInt(bytes.readUInt32LE(at)) * 1_000_000_000n + BigInt(bytes.readUInt32LE(at + 4));
    rows.push({
      time: decimal(time),
      original: bytes.readUInt32LE(at + 12),
      data: hex(bytes.subarray(at + 16, at + 16 + captured)),
    });
    at += 16 + captured;
  }
  return { rows, linktype: bytes.readUInt32LE(20) & 0x03ff_ffff };
}

// Of one packet tcpdump says nothing sensible: its microseconds are 3,841,916,976, and overflow on the way.
const WILD_TIME = "rx_serviceid_oobr.pcap";

describe.skipIf(!hasCorpus || !hasTcpdump)(
  needs("the corpus as tcpdump reads it", hasCorpus && hasTcpdump, hasCorpus ? "tcpdump" : "corpus"),
  () => {
    test("there are captures", () => expect(files.length).toBeGreaterThan(300));

    test.each(files)("%s", (name) => {
      const path = join(FOLDER, name);
      const capture = readCaptureSync(readFileSync(path));
      const rows = rowsOf(capture.packets());
      const theirs = tcpdump(path);
      if (name === WILD_TIME) for (const side of [rows, theirs.rows]) side[1]!.time = "";
      expect(rows).toEqual(theirs.rows);
      expect(capture.interfaces[0]?.linktype).toBe(theirs.linktype);
    });
  },
);

describe.skipIf(!hasCorpus || !hasEditcap)(
  needs(
    "what editcap and mergecap write",
    hasCorpus && hasEditcap,
    hasCorpus ? "editcap, mergecap and tshark" : "corpus",
  ),
  () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-corpus-"));
    afterAll(() => rmSync(folder, { recursive: true }));

    function run(command: string, ...args: string[]): string {
      const answer = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28 });
      expect(answer.status, `${command} ${args.join(" ")}: ${answer.stderr}`).toBe(0);
      return answer.stdout;
    }

    /** Time, length, captured length, encapsulation and comment of each packet as tshark sees them. */
    const tshark = (path: string): string[] => {
      const fields = "time_epoch len cap_len interface_id comment".split(" ");
      const args = fields.flatMap((field) => ["-e", `frame.${field}`]);
      return run("tshark", "-r", path, "-T", "fields", ...args)
        .split("\n")
        .filter(Boolean);
    };

    const ours = (path: string, isNg: boolean): string[] => {
      const capture = readCaptureSync(readFileSync(path));
      expect(capture.format).toBe(isNg ? "pcapng" : "pcap");
      return Array.from(capture.packets(), (packet) =>
        [
          decimal(packet.timestampNs),
          packet.originalLength,
          packet.data.length,
          isNg ? packet.interfaceIndex : "",
          decodePacketOptions(packet).find((option) => option.name === "opt_comment")?.value ?? "",
        ].join("\t"),
      );
    };

    const sources = ["dns_tcp_8053.pcap", "ISIS_p2p_adjacency.pcap", "pptp.pcap", "HDLC.pcap"];

    test.each(
      sources
        .slice(0, 2)
        .flatMap((name) => ["pcap", "nsecpcap", "modpcap", "pcapng"].map((format) => [name, format])),
    )("%s as %s", (name, format) => {
      const path = join(folder, `${name}.${format}`);
      run("editcap", "-F", format!, join(FOLDER, name!), path);
      expect(ours(path, format === "pcapng")).toEqual(tshark(path));
    });

    test("comments, a snapshot length and a time shift", () => {
      const path = join(folder, "comments.pcapng");
      const source = join(FOLDER, "dns_tcp_8053.pcap");
      run(
        "editcap",
        "-F",
        "pcapng",
        "-a",
        "1:the first",
        "-a",
        "3:drüben",
        "-s",
        "50",
        "-t",
        "0.000000001",
        source,
        path,
      );
      const rows = ours(path, true);
      expect(rows).toEqual(tshark(path));
      expect(rows[2]).toContain("drüben");
    });

    test("several interfaces with different link types", () => {
      const path = join(folder, "merged.pcapng");
      run("mergecap", "-w", path, ...sources.map((name) => join(FOLDER, name)));
      expect(ours(path, true)).toEqual(tshark(path));
      const capture = readCaptureSync(readFileSync(path));
      expect(new Set(Array.from(capture.packets(), (packet) => packet.linktype))).toEqual(new Set([1, 104]));
    });

    test("sections one after the other", () => {
      const paths = sources.map((name) => join(folder, `${name}.section.pcapng`));
      for (const [i, name] of sources.entries())
        run("editcap", "-F", "pcapng", join(FOLDER, name), paths[i]!);
      const joined = Buffer.concat(paths.map((path) => readFileSync(path)));
      const each = paths.flatMap((path) => rowsOf(readCaptureSync(readFileSync(path)).packets()));
      const capture = readCaptureSync(joined);
      expect(rowsOf(capture.packets())).toEqual(each);
      expect(capture.sections).toHaveLength(sources.length);
      expect(capture.interfaces.map((source) => [source.index, source.section, source.id])).toEqual(
        sources.map((_, i) => [i, i, 0]),
      );
    });
  },
);
