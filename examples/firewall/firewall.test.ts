import { readFileSync } from "node:fs";
import { Machine, parseObject } from "skep";
import { readPacketsSync } from "skep/capture";
import { beforeEach, describe, expect, it } from "vitest";

const object = readFileSync(new URL("firewall.bpf.o", import.meta.url));
const capture = readFileSync(new URL("../captures/web.pcap", import.meta.url));

/** An IPv4 TCP segment without options or payload. */
function tcp({ from, port }: { from: number[]; port: number }): Uint8Array {
  const packet = new Uint8Array(54);
  const view = new DataView(packet.buffer);
  view.setUint16(12, 0x0800); // EtherType: IPv4
  packet.set([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, ...from, 192, 0, 2, 1], 14);
  view.setUint16(36, port);
  packet[46] = 5 << 4;
  return packet;
}

describe("firewall", () => {
  const spec = parseObject(object, { name: "firewall.bpf.o" });
  let loaded: Awaited<ReturnType<Machine["load"]>>;

  beforeEach(async () => {
    const machine = await Machine.create({ clock: "virtual" });
    loaded = await machine.load(spec);
  });

  const verdict = (packet: Uint8Array) => loaded.programs["firewall"]?.run({ packet }).returnName;

  it("passes what no rule names", () => {
    expect(verdict(tcp({ from: [192, 0, 2, 9], port: 443 }))).toBe("XDP_PASS");
  });

  it("drops sources and ports of the built-in rules", () => {
    expect(verdict(tcp({ from: [203, 0, 113, 7], port: 443 }))).toBe("XDP_DROP");
    expect(verdict(tcp({ from: [192, 0, 2, 9], port: 23 }))).toBe("XDP_DROP");
  });

  it("drops what the host puts on the list, from the next packet on", () => {
    const packet = tcp({ from: [10, 1, 2, 3], port: 443 });
    expect(verdict(packet)).toBe("XDP_PASS");
    loaded.maps["blocked4"]?.set({ prefixlen: 8, addr: [10, 0, 0, 0] }, 9);
    expect(verdict(packet)).toBe("XDP_DROP");
    expect(loaded.maps["rule_hits"]?.get(9)).toMatchObject({ packets: 1n, bytes: 54n });
  });

  it("counts a real capture by reason", () => {
    for (const { data } of readPacketsSync(capture)) loaded.programs["firewall"]?.run({ packet: data });
    const packets = [...(loaded.maps["verdicts"]?.entries() ?? [])].map(([, cpus]) => {
      const [{ reason, packets: number }] = cpus as [{ reason: string; packets: bigint }];
      return [reason, number];
    });
    expect(packets).toEqual([
      ["PASSED", 3548n],
      ["NOT_IP", 13n],
      ["BLOCKED_SOURCE", 55n],
      ["BLOCKED_PORT", 39n],
      ["LARGE_ECHO", 28n],
      ["LATER_FRAGMENT", 23n],
      ["MALFORMED", 6n],
    ]);
  });
});
