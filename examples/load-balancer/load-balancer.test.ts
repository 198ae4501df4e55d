import { readFileSync } from "node:fs";
import { eth, testObject } from "skep/testing";
import "skep/testing/vitest";
import { beforeEach, describe, expect, it } from "vitest";
import { fillRing, RING_SIZE } from "./ring.ts";

const object = readFileSync(new URL("load-balancer.bpf.o", import.meta.url));

const VIP = "192.0.2.80";
const SERVERS = ["10.0.1.1", "10.0.1.2", "10.0.1.3"];
const GATEWAY = "02:00:00:00:00:fe";
const BALANCER = "02:00:00:00:00:02";

const bytesOf = (address: string) => Uint8Array.from(address.split("."), Number);
const port = (number: number) => ((number & 255) << 8) | (number >> 8);

/** A packet of a client to the virtual address. */
const request = (sport: number, size = 32) =>
  eth({ dst: BALANCER }).ipv4({ src: "198.51.100.7", dst: VIP }).tcp({ sport, dport: 80 }).payload(size);

describe("load balancer", () => {
  let bpf: Awaited<ReturnType<typeof testObject>>;
  let balance: (packet: { bytes(): Uint8Array }) => ReturnType<(typeof bpf.programs)[string]["run"]>;

  const setServers = (names: readonly (string | undefined)[]) => {
    fillRing(names).forEach((number, entry) => bpf.maps["rings"]!.set(entry, number));
    names.forEach((name, number) =>
      bpf.maps["servers"]!.set(number, { address: bytesOf(name ?? "0.0.0.0") }),
    );
  };
  const addVip = (encapsulation: "IPIP" | "GUE", protocol = 6) =>
    bpf.maps["vips"]!.set(
      { address: bytesOf(VIP), port: port(80), protocol, pad: 0 },
      { id: 0, encapsulation },
    );

  beforeEach(async () => {
    bpf = await testObject(object);
    balance = (packet) => bpf.programs["balance"]!.run({ packet: packet.bytes() });
    setServers(SERVERS);
  });

  it("leaves alone what is for nobody here", () => {
    addVip("IPIP");
    expect(balance(eth().ipv4({ dst: "192.0.2.81" }).tcp({ dport: 80 }))).toReturnValue("XDP_PASS");
    expect(balance(eth().ipv4({ dst: VIP }).udp({ dport: 80 }))).toReturnValue("XDP_PASS");
    expect(balance(eth().ipv4({ dst: VIP, offset: 100 }).tcp({ dport: 80 }))).toReturnValue("XDP_PASS");
    expect(balance(eth().ipv6().tcp({ dport: 80 }))).toReturnValue("XDP_PASS");
    expect(bpf.maps["connections"]).toHaveEntries([]);
  });

  it("wraps a packet into IPIP for the server of its connection", () => {
    addVip("IPIP");
    const run = balance(request(40000));
    expect(run).toReturnValue("XDP_TX");
    const [[, number]] = [...bpf.maps["connections"]!.entries()] as [[unknown, number]];
    expect(run.packet).toEqualPacket(
      eth({ src: BALANCER, dst: GATEWAY })
        .ipv4({ src: "10.0.0.1", dst: SERVERS[number] as string })
        .ipv4({ src: "198.51.100.7", dst: VIP })
        .tcp({ sport: 40000, dport: 80 })
        .payload(32),
    );
  });

  it("wraps a packet into GUE", () => {
    addVip("GUE");
    const run = balance(request(40001));
    expect(run).toReturnValue("XDP_TX");
    expect(run.packet).toEqualPacket(
      eth({ src: BALANCER, dst: GATEWAY })
        .ipv4({ src: "10.0.0.1" })
        .udp({ dport: 6080, checksum: 0 })
        .gue()
        .ipv4({ src: "198.51.100.7", dst: VIP })
        .tcp({ sport: 40001, dport: 80 })
        .payload(32),
      // Which server and which source port is the hash's business.
      { ignore: ["ipv4.dst", "ipv4.checksum", "udp.sport"] },
    );
  });

  it("keeps a connection at its server when the ring changes", () => {
    addVip("IPIP");
    const serverOf = (sport: number) => balance(request(sport)).packet.slice(30, 34).join(".");
    const before = Array.from({ length: 200 }, (_, index) => serverOf(1000 + index));
    expect(new Set(before)).toEqual(new Set(SERVERS));
    setServers([...SERVERS, "10.0.1.4"]);
    const after = before.map((_, index) => serverOf(1000 + index));
    expect(after).toEqual(before);
    const fresh = Array.from({ length: 200 }, (_, index) => serverOf(5000 + index));
    expect(new Set(fresh)).toEqual(new Set([...SERVERS, "10.0.1.4"]));
  });

  it("drops packets for a server that is gone", () => {
    addVip("IPIP");
    SERVERS.forEach((_, number) => bpf.maps["servers"]!.set(number, { address: 0 }));
    expect(balance(request(1))).toReturnValue("XDP_DROP");
  });

  it("answers what would become too long", () => {
    addVip("IPIP");
    const run = balance(request(40000, 1460));
    expect(run).toReturnValue("XDP_TX");
    const quoted = request(40000, 1460)
      .bytes()
      .subarray(14, 14 + 28);
    expect(run.packet).toEqualPacket(
      eth({ src: BALANCER, dst: "02:00:00:00:00:01" })
        .ipv4({ src: VIP, dst: "198.51.100.7" })
        .icmp({ type: 3, code: 4, id: 0, seq: 1468 })
        .payload(quoted),
    );
    expect(bpf.maps["vip_statistics"]).toHaveEntry(0, [{ packets: 1, too_long: 1 }]);
  });

  it("counts packets, bytes and new connections", () => {
    addVip("IPIP");
    for (const sport of [1, 2, 2, 2]) balance(request(sport, 10));
    expect(bpf.maps["vip_statistics"]).toHaveEntry(0, [
      { packets: 4, bytes: 4 * 64, new_connections: 2, too_long: 0 },
    ]);
  });
});

describe("ring", () => {
  it("spreads evenly, and changes little when a server goes", () => {
    const names = Array.from({ length: 10 }, (_, index) => `10.0.1.${index}`);
    const before = fillRing(names);
    const counts = names.map((_, number) => before.filter((entry) => entry === number).length);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    const after = fillRing(names.map((name, number) => (number === 3 ? undefined : name)));
    const moved = before.filter((number, entry) => number !== 3 && after[entry] !== number).length;
    expect(moved / RING_SIZE).toBeLessThan(0.25);
  });
});
