import { readFileSync } from "node:fs";
import { testObject } from "skep/testing";
import "skep/testing/vitest";
import { beforeEach, describe, expect, it } from "vitest";

const object = readFileSync(new URL("steering.bpf.o", import.meta.url));
const ip = (text: string): number =>
  new DataView(Uint8Array.from(text.split("."), Number).buffer).getUint32(0, true);

describe("steering", () => {
  let bpf: Awaited<ReturnType<typeof testObject>>;
  const look = (local: string, protocol = "tcp") =>
    bpf.programs["steer"]!.run({ protocol, local, remote: "203.0.113.9:50000" });

  beforeEach(async () => {
    bpf = await testObject(object, {
      variables: { network: ip("192.0.2.0"), mask: ip("255.255.255.0") },
    });
  });

  it("leads every port of the range to one listener", () => {
    const listener = bpf.machine.world.sockets.add({ protocol: "tcp", local: "127.0.0.1:9000" });
    bpf.maps["listeners"]!.set(0, listener);
    for (const local of ["192.0.2.1:8000", "192.0.2.200:8999"])
      expect(look(local)).toMatchObject({ returnName: "SK_PASS", socket: listener });
    expect(bpf.maps["counts"]).toHaveEntry(0, [2n]);
  });

  it("leaves other ports, networks and families to the kernel's tables", () => {
    for (const local of ["192.0.2.1:7999", "192.0.3.1:8000", "[2001:db8::1]:8000"])
      expect(look(local)).toMatchObject({ returnName: "SK_PASS", socket: undefined });
    expect(bpf.maps["counts"]).toHaveEntry(1, [3n]);
  });

  it("drops what nobody listens to, UDP on its own", () => {
    const listener = bpf.machine.world.sockets.add({ protocol: "tcp", local: "127.0.0.1:9000" });
    bpf.maps["listeners"]!.set(0, listener);
    expect(look("192.0.2.1:8053", "udp")).toMatchObject({ returnName: "SK_DROP" });
  });
});
