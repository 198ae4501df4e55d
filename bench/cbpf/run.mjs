/**
 * `node bench/cbpf/run.mjs [CAPTURE]`: filters compiled by skep against libpcap's bpf_filter(), on the same programs (those
 * that tcpdump prints) over a million packets in memory, in one run. Needs a built dist/, cc, libpcap-dev and tcpdump.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileFunction, compileMatcher, createPacketMemory } from "../../dist/cbpf/index.js";
import { compileFilter } from "../../dist/filter/index.js";

const here = dirname(fileURLToPath(import.meta.url));
const PACKETS = 1_000_000;
const ROUNDS = 7;
const BATCH = 65_536;

const terms = Array.from(
  { length: 20 },
  (_, n) => `port ${7000 + 13 * n} or host 10.9.${n}.${(n * 37) % 255}`,
);
const EXPRESSIONS = [
  "ip",
  "tcp port 80",
  "host 10.0.0.1 and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
  "vlan and ip6",
  terms.join(" or "),
];

/** A capture of our own: TCP, UDP, ICMP, IPv6, ARP and VLAN frames of mixed lengths. */
function writeTraffic(path) {
  let state = 1;
  const random = (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  const records = [Buffer.alloc(24)];
  records[0].writeUInt32LE(0xa1b2c3d4, 0);
  records[0].writeUInt16LE(2, 4);
  records[0].writeUInt16LE(4, 6);
  records[0].writeUInt32LE(262144, 16);
  records[0].writeUInt32LE(1, 20);
  for (let n = 0; n < 20_000; n++) {
    const length = [60, 60, 74, 128, 590, 1514][random(6)];
    const packet = Buffer.alloc(length);
    for (let byte = 0; byte < 64 && byte < length; byte++) packet[byte] = random(256);
    const kind = random(20);
    let network = 14;
    if (kind === 0) packet.writeUInt16BE(0x0806, 12);
    else if (kind < 3) {
      packet.writeUInt16BE(0x8100, 12);
      packet.writeUInt16BE(kind === 1 ? 0x86dd : 0x0800, 16);
      network = 18;
    } else if (kind < 7) {
      packet.writeUInt16BE(0x86dd, 12);
      packet[20] = random(3) === 0 ? 17 : 6;
      if (random(3) === 0) packet.writeUInt16BE(80, 56);
    } else packet.writeUInt16BE(0x0800, 12);
    if (kind >= 7 || kind === 2) {
      packet[network] = 0x45;
      packet[network + 6] = random(50) === 0 ? 1 : 0;
      packet[network + 7] = 0;
      packet[network + 9] = [6, 6, 6, 17, 1][random(5)];
      if (random(4) === 0) packet.set([10, 0, 0, 1], network + 12 + 4 * random(2));
      packet.writeUInt16BE([80, 443, 53, 40000 + random(9000)][random(4)], network + 20);
      packet.writeUInt16BE([80, 443, 7013, 40000 + random(9000)][random(4)], network + 22);
    }
    const header = Buffer.alloc(16);
    header.writeUInt32LE(n, 0);
    header.writeUInt32LE(length, 8);
    header.writeUInt32LE(length, 12);
    records.push(header, packet);
  }
  writeFileSync(path, Buffer.concat(records));
}

function readPackets(path) {
  const file = readFileSync(path);
  const packets = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const length = file.readUInt32LE(at + 8);
    packets.push(file.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return packets;
}

const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
try {
  const capture = process.argv[2] ?? join(folder, "traffic.pcap");
  if (process.argv[2] === undefined) writeTraffic(capture);
  const files = EXPRESSIONS.map((expression, index) => {
    const path = join(folder, `${index}.txt`);
    writeFileSync(path, execFileSync("tcpdump", ["-ddd", "-y", "EN10MB", "-s", "262144", expression]));
    return path;
  });
  execFileSync("cc", [
    "-O2",
    "-Wno-unused-result",
    join(here, "libpcap.c"),
    "-lpcap",
    "-o",
    join(folder, "libpcap"),
  ]);
  const theirs = execFileSync(join(folder, "libpcap"), [capture, String(PACKETS), String(ROUNDS), ...files])
    .toString()
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number));

  const packets = readPackets(capture);
  const bytes = packets.reduce((sum, packet) => sum + packet.length, 0);
  const memory = createPacketMemory(bytes);
  const elsewhere = new Uint8Array(bytes);
  // Columns of a million rows over the packets of the capture, again and again.
  const offset = new Uint32Array(PACKETS);
  const length = new Uint32Array(PACKETS);
  let end = 0;
  packets.forEach((packet, index) => {
    memory.data.set(packet, end);
    elsewhere.set(packet, end);
    offset[index] = end;
    length[index] = packet.length;
    end += packet.length;
  });
  for (let row = packets.length; row < PACKETS; row++) {
    offset[row] = offset[row - packets.length];
    length[row] = length[row - packets.length];
  }
  const out = new Uint32Array(PACKETS);
  const measure = (run) => {
    let best = Infinity;
    let matched = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const start = process.cpuUsage();
      matched = run();
      const { user, system } = process.cpuUsage(start);
      best = Math.min(best, ((user + system) * 1000) / PACKETS);
    }
    return { best, matched };
  };
  console.log(
    "ns a packet              libpcap   in place   ratio   skep's code   ratio   elsewhere   one by one    function   ratio",
  );
  files.forEach((path, index) => {
    const numbers = readFileSync(path, "utf8").trim().split(/\s+/).map(Number);
    const program = [];
    for (let at = 1; at < numbers.length; at += 4) {
      const [code, jt, jf, k] = numbers.slice(at, at + 4);
      program.push({ code, jt, jf, k });
    }
    const inPlace = compileMatcher(program, { flavor: "libpcap", memory });
    const alone = compileMatcher(program, { flavor: "libpcap" });
    const ours = measure(() => inPlace.matchBatch(memory.data, offset, length, PACKETS, out));
    const own = compileMatcher(compileFilter(EXPRESSIONS[index]).cbpf, { memory });
    const better = measure(() => own.matchBatch(memory.data, offset, length, PACKETS, out));
    const copied = measure(() => {
      let matched = 0;
      for (let first = 0; first < PACKETS; first += BATCH) {
        const count = Math.min(BATCH, PACKETS - first);
        const rows = [offset.subarray(first, first + count), length.subarray(first, first + count)];
        matched += alone.matchBatch(elsewhere, rows[0], rows[1], count, out);
      }
      return matched;
    });
    const single = measure(() => {
      let matched = 0;
      for (let row = 0, at = 0; row < PACKETS; row++) {
        if (alone.matches(packets[at]) !== 0) matched++;
        if (++at === packets.length) at = 0;
      }
      return matched;
    });
    // A loop of its own for each filter, as a program with one filter has: shared, its call would not be inlined.
    const loop = new Function(
      "run",
      "packets",
      "count",
      "let matched=0;for(let row=0,at=0;row<count;row++){if(run(packets[at])!==0)matched++;if(++at===packets.length)at=0;}return matched;",
    );
    const run = compileFunction(program);
    const called = measure(() => loop(run, packets, PACKETS));
    const [nanoseconds, matched] = theirs[index];
    for (const { matched: found } of [ours, better, copied, single, called]) {
      if (found !== matched)
        throw new Error(`${EXPRESSIONS[index]}: ${found} matches, libpcap has ${matched}`);
    }
    const name =
      EXPRESSIONS[index].length > 22 ? `${EXPRESSIONS[index].slice(0, 19)}...` : EXPRESSIONS[index];
    const cells = [
      nanoseconds,
      ours.best,
      nanoseconds / ours.best,
      better.best,
      nanoseconds / better.best,
      copied.best,
      single.best,
      called.best,
    ];
    cells.push(nanoseconds / called.best);
    console.log(name.padEnd(24), cells.map((cell) => cell.toFixed(2).padStart(9)).join("  "));
  });
} finally {
  rmSync(folder, { recursive: true });
}
