import { readFileSync } from "node:fs";
import { Machine, parseObject } from "skep";
import { readPacketsSync } from "skep/capture";
import { expect, it } from "vitest";

const object = readFileSync(new URL("packet-counter.bpf.o", import.meta.url));
const capture = readFileSync(new URL("../captures/web.pcap", import.meta.url));

it("counts packets and bytes by destination port, on the CPU that saw them", async () => {
  const machine = await Machine.create({ cpus: 2 });
  const { programs, maps } = await machine.load(parseObject(object, { name: "packet-counter.bpf.o" }), {
    programs: ["count"],
  });
  let packets = 0;
  for (const { data } of readPacketsSync(capture)) {
    const { returnName } = programs["count"]!.run({ packet: data, cpu: packets++ % 2 });
    expect(returnName).toBe("XDP_PASS");
  }
  const web = maps["ports"]!.get({ proto: 6, port: 80 }) as { packets: bigint };
  expect(web.packets).toBeGreaterThan(1000n);

  // A per-CPU map has a value for each CPU; together they have seen everything.
  const totals = [0n, 0n];
  for (const [, values] of maps["protocols"]!.entries()) {
    (values as { packets: bigint }[]).forEach((value, cpu) => (totals[cpu]! += value.packets));
  }
  expect(totals.every((total) => total >= BigInt(packets) / 2n)).toBe(true);
});
