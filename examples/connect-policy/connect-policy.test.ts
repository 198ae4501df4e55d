import { readFileSync } from "node:fs";
import { testObject } from "skep/testing";
import "skep/testing/vitest";
import { beforeEach, describe, expect, it } from "vitest";

const object = readFileSync(new URL("connect-policy.bpf.o", import.meta.url));

/** An address as the network has it. */
const ip = (text: string): number =>
  new DataView(Uint8Array.from(text.split("."), Number).buffer).getUint32(0, true);

describe("connect policy", () => {
  let bpf: Awaited<ReturnType<typeof testObject>>;
  const connect = (address: string) => {
    const { returnValue, address: to } = bpf.programs["connect"]!.run({ address });
    return returnValue === 1 ? to : "EPERM";
  };

  beforeEach(async () => {
    bpf = await testObject(object);
    const rule = (network: string, prefixlen: number, value: object) =>
      bpf.maps["rules"]!.set(
        { prefixlen, address: ip(network) },
        { port: 0, proxy_port: 0, proxy: 0, ...value },
      );
    rule("10.0.0.0", 8, { port: 443 });
    rule("10.1.0.0", 16, {});
    rule("192.0.2.0", 24, { proxy: ip("127.0.0.1"), proxy_port: 3128 });
  });

  it("refuses what no rule names", () => {
    expect(connect("198.51.100.1:443")).toBe("EPERM");
    expect(bpf.maps["verdicts"]).toHaveEntries([[1, 1n]]);
  });

  it("allows networks port by port; the narrowest rule counts", () => {
    expect(connect("10.0.0.1:443")).toBe("10.0.0.1:443");
    expect(connect("10.0.0.1:80")).toBe("EPERM");
    expect(connect("10.1.2.3:80")).toBe("10.1.2.3:80");
  });

  it("puts a proxy in the way, which can ask where the connection wanted to go", () => {
    expect(connect("192.0.2.77:80")).toBe("127.0.0.1:3128");
    const [[, destination] = []] = bpf.maps["wanted"]!.entries();
    expect(destination).toEqual({ address: ip("192.0.2.77"), port: 80 });
  });
});
