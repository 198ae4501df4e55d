import { readFileSync } from "node:fs";
import { Machine, parseObject } from "skep";
import { readPacketsSync } from "skep/capture";
import { describe, expect, it } from "vitest";

const spec = parseObject(readFileSync(new URL("rewrite.bpf.o", import.meta.url)), { name: "rewrite.bpf.o" });
const packets = [...readPacketsSync(readFileSync(new URL("../captures/web.pcap", import.meta.url)))].map(
  ({ data }) => data,
);

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The Internet checksum (RFC 1071): 0 over a header that holds its own. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] as number) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return 0xffff - sum;
}

const header = (packet: Uint8Array, at: number): Uint8Array =>
  packet.subarray(at, at + 4 * ((packet[at] as number) & 15));

describe("encapsulate", () => {
  it("puts web traffic into IP in IP and leaves the rest alone", async () => {
    const { programs, maps } = await (await Machine.create()).load(spec, { programs: ["encapsulate"] });
    let wrapped = 0;
    for (const packet of packets) {
      const run = programs["encapsulate"]!.run({ packet });
      if (run.returnName === "XDP_PASS") {
        expect(same(run.packet, packet)).toBe(true);
        continue;
      }
      wrapped++;
      expect(run.packet.length).toBe(packet.length + 20);
      expect(checksum(header(run.packet, 14))).toBe(0);
      expect([...run.packet.subarray(26, 34)]).toEqual([192, 0, 2, 1, 192, 0, 2, 2]);
      expect(same(run.packet.subarray(34), packet.subarray(14))).toBe(true);
    }
    expect(wrapped).toBe(900);
    expect([...maps["encapsulated"]!.entries()].flat()).toMatchObject([0, [{ packets: 900n }]]);
  });
});

describe("reflect", () => {
  it("swaps addresses, counts the TTL down and keeps the checksum right", async () => {
    const { programs } = await (await Machine.create()).load(spec, { programs: ["reflect"] });
    for (const packet of packets) {
      const run = programs["reflect"]!.run({ packet });
      if (run.returnName !== "XDP_TX") continue;
      expect(same(run.packet.subarray(26, 30), packet.subarray(30, 34))).toBe(true);
      expect(run.packet[22]).toBe((packet[22] as number) - 1);
      // A checksum that was right stays right; one that was wrong stays wrong.
      expect(checksum(header(run.packet, 14)) === 0).toBe(checksum(header(packet, 14)) === 0);
    }
  });
});
