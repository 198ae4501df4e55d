/** Runs what `skep compile` made over a capture: node host.mjs MODULE.wasm CAPTURE.pcap. Imports nothing of skep. */
import { readFileSync } from "node:fs";

export function open(bytes, host = { ktime_get_ns: () => process.hrtime.bigint() }) {
  const module = new WebAssembly.Module(bytes);
  const [section] = WebAssembly.Module.customSections(module, "skep");
  const { programs, maps } = JSON.parse(new TextDecoder().decode(section));
  const { exports: skep } = new WebAssembly.Instance(module, { host });
  // Afresh each time: the memory may have grown.
  const copy = (at, size) => new Uint8Array(skep.memory.buffer, at >>> 0, size).slice();
  const run = (packet, program = 0) => {
    const at = skep.packet_buffer(packet.length) >>> 0;
    new Uint8Array(skep.memory.buffer).set(packet, at);
    return skep.run(program, packet.length) >>> 0;
  };
  const entries = function* (map) {
    const { keySize, valueSize } = maps[map];
    const [key, value] = [skep.alloc(keySize), skep.alloc(valueSize + 8)];
    for (let from = 0; skep.map_next_key(map, from, key) === 0; from = key) {
      if (skep.map_lookup(map, key, value) === 0) yield [copy(key, keySize), copy(value, valueSize)];
    }
    for (const at of [key, value]) skep.free(at);
  };
  return { skep, programs, maps, run, entries };
}

export function packetsOf(pcap) {
  const packets = [];
  for (let at = 24; at < pcap.length; at += 16 + pcap.readUInt32LE(at + 8)) {
    packets.push(pcap.subarray(at + 16, at + 16 + pcap.readUInt32LE(at + 8)));
  }
  return packets;
}

if (process.argv[1] === import.meta.filename) {
  const [wasm, capture] = process.argv.slice(2).map((path) => readFileSync(path));
  const { maps, run, entries } = open(wasm);
  const verdicts = new Map();
  for (const packet of packetsOf(capture)) {
    const verdict = run(packet);
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
  }
  console.log("verdicts", Object.fromEntries(verdicts));
  for (const [index, { name, type }] of maps.entries()) console.log(name, type, [...entries(index)].length);
}
