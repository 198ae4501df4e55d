/** libpcap's answers as test rows, and packets on which two programs can differ. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { readCaptureSync } from "../../src/capture/index.ts";
import { BpfError } from "../../src/errors.ts";
import { type CbpfInstruction, runCbpf } from "../../src/cbpf/index.ts";
import { type FilterResolver, linkRow, parseHosts } from "../../src/filter/index.ts";
import { CORPUS } from "../helpers.ts";

export interface FilterRow {
  readonly dlt: string;
  readonly linktype: number;
  readonly snaplen: number;
  readonly netmask?: string;
  readonly linuxext?: boolean;
  readonly expr: string;
  readonly optimize: 0 | 1;
  readonly expected: readonly (readonly [number, number, number, number])[] | null;
  readonly error?: string;
}

const folder = join(CORPUS, "filters");
export const hasFilters: boolean = existsSync(join(folder, "filters.jsonl"));

const text = (name: string): string => readFileSync(join(folder, name), "utf8");

export function filterRows(): readonly FilterRow[] {
  return text("filters.jsonl")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as FilterRow);
}

export function corpusResolver(): FilterResolver {
  return parseHosts({ hosts: text("hosts"), ethers: text("ethers"), networks: text("networks") });
}

export const program = (rows: NonNullable<FilterRow["expected"]>): CbpfInstruction[] =>
  rows.map(([code, jt, jf, k]) => ({ code, jt, jf, k }));

export function netmaskOf(row: FilterRow): number | undefined {
  if (row.netmask === undefined) return undefined;
  return row.netmask.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Packets of the corpus by DLT, at most `limit` for each, short ones first. */
export function packetsByLink(limit: number): ReadonlyMap<number, readonly Uint8Array[]> {
  const result = new Map<number, Uint8Array[]>();
  const captures = join(CORPUS, "captures");
  for (const name of readdirSync(captures).sort()) {
    try {
      const capture = readCaptureSync(new Uint8Array(readFileSync(join(captures, name))));
      for (const packet of capture.packets()) {
        const link = linkRow(packet.linktype);
        if (link === undefined) continue;
        const known = result.get(link.dlt) ?? [];
        known.push(packet.data.slice());
        result.set(link.dlt, known);
      }
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      // Some captures are damaged on purpose; what could be read before counts.
    }
  }
  for (const [dlt, packets] of result) {
    packets.sort((a, b) => a.length - b.length);
    const step = Math.max(1, packets.length / limit);
    result.set(
      dlt,
      Array.from(
        { length: Math.min(limit, packets.length) },
        (_, i) => packets[Math.floor(i * step)] as Uint8Array,
      ),
    );
  }
  return result;
}

/** A small generator of random numbers (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Field {
  readonly offset: number;
  readonly size: number;
  readonly shift: number;
  readonly k: number;
  readonly mask: number;
}

/** Where a run's branches got what they compare: the field of the load before, and the constant. */
function fieldsOf(code: readonly CbpfInstruction[], packet: Uint8Array): readonly Field[] {
  const cells = Array.from({ length: 16 }, () => 0);
  const fields: Field[] = [];
  let [a, x, pc] = [0, 0, 0];
  let last: { offset: number; size: number; mask: number } | undefined;
  const read = (offset: number, size: number): number | undefined => {
    if (offset < 0 || offset + size > packet.length) return undefined;
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + (packet[offset + i] as number);
    return value;
  };
  for (let steps = 0; steps < 20000; steps++) {
    const { code: op, jt, jf, k } = code[pc++] as CbpfInstruction;
    const kind = op & 7;
    if (kind === 6) return fields;
    if (kind === 0 || kind === 1) {
      const mode = op & 0xe0;
      const size = (op & 0x18) === 0 ? 4 : (op & 0x18) === 8 ? 2 : 1;
      let value: number | undefined;
      if (mode === 0x00) value = k;
      else if (mode === 0x60) value = cells[k];
      else if (mode === 0x80) value = packet.length;
      else if (mode === 0xa0) {
        const byte = read(k, 1);
        value = byte === undefined ? undefined : 4 * (byte & 15);
      } else {
        const offset = mode === 0x40 ? x + k : k;
        value = read(offset, size);
        last = { offset, size, mask: 0xffffffff };
        if (value === undefined) fields.push({ offset, size, shift: 0, k: 0, mask: 0 });
      }
      if (value === undefined) return fields;
      if (kind === 0) a = value;
      else x = value;
    } else if (kind === 2) cells[k] = a;
    else if (kind === 3) cells[k] = x;
    else if (kind === 4) {
      const b = (op & 8) === 0 ? k : x;
      const which = op & 0xf0;
      if (which === 0x00) a = (a + b) >>> 0;
      else if (which === 0x10) a = (a - b) >>> 0;
      else if (which === 0x20) a = Math.imul(a, b) >>> 0;
      else if (which === 0x30) a = b === 0 ? 0 : Math.floor(a / b);
      else if (which === 0x40) a = (a | b) >>> 0;
      else if (which === 0x50) {
        a = (a & b) >>> 0;
        if (last !== undefined && (op & 8) === 0) last = { ...last, mask: b };
      } else if (which === 0x60) a = b > 31 ? 0 : (a << b) >>> 0;
      else if (which === 0x70) a = b > 31 ? 0 : a >>> b;
      else if (which === 0x80) a = -a >>> 0;
      else if (which === 0x90) a = b === 0 ? 0 : a % b;
      else a = (a ^ b) >>> 0;
    } else if (kind === 5) {
      const b = (op & 8) === 0 ? k : x;
      const which = op & 0xf0;
      if (which === 0) {
        pc = (pc + k) >>> 0;
        continue;
      }
      if (last !== undefined) fields.push({ ...last, k: b, shift: 0 });
      const yes = which === 0x10 ? a === b : which === 0x20 ? a > b : which === 0x30 ? a >= b : (a & b) !== 0;
      pc += yes ? jt : jf;
    } else if ((op & 0xf8) === 0) x = a;
    else a = x;
  }
  return fields;
}

/**
 * Packets made for a program: from seeds, fields on the way of a run are set to the constants that they are compared
 * with, or beside them, again and again; then the packets are cut around the ends of such fields.
 */
export function straddling(
  code: readonly CbpfInstruction[],
  seeds: readonly Uint8Array[],
  count: number,
  seed: number,
): readonly Uint8Array[] {
  const next = random(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const pool: Uint8Array[] = seeds.map((packet) => packet.slice());
  const out: Uint8Array[] = [];
  while (out.length < count) {
    const base = pick(pool).slice();
    const fields = fieldsOf(code, base);
    if (fields.length === 0) {
      out.push(base.slice(0, Math.floor(next() * base.length)));
      continue;
    }
    const { offset, size, k, mask } = next() < 0.6 ? (fields.at(-1) as Field) : pick(fields);
    if (next() < 0.2) {
      out.push(base.slice(0, Math.max(0, offset + Math.floor(next() * (size + 2)) - 1)));
      continue;
    }
    if (offset + size > base.length || offset > 4000) {
      if (offset < 4000) {
        const grown = new Uint8Array(offset + size + 8);
        grown.set(base);
        if (pool.length < 200) pool.push(grown);
        out.push(grown);
      } else {
        out.push(base);
      }
      continue;
    }
    let old = 0;
    for (let i = 0; i < size; i++) old = old * 256 + (base[offset + i] as number);
    const wanted = next() < 0.7 ? k : (k + (next() < 0.5 ? 1 : -1)) >>> 0;
    const value = ((old & ~mask) | (wanted & (mask === 0 ? 0 : 0xffffffff))) >>> 0;
    for (let i = 0; i < size; i++) base[offset + i] = (value >>> (8 * (size - 1 - i))) & 0xff;
    if (pool.length < 200) pool.push(base);
    else pool[Math.floor(next() * pool.length)] = base;
    out.push(base);
  }
  return out;
}

/** Packets of no protocol: zeros, ones, random bytes, and IPv4 and IPv6 headers at the usual places. */
export function plainSeeds(): readonly Uint8Array[] {
  const next = random(7);
  const noise = Uint8Array.from({ length: 160 }, () => Math.floor(next() * 256));
  const nested = new Uint8Array(200).fill(0x45);
  return [new Uint8Array(160), new Uint8Array(160).fill(0xff), noise, nested];
}

/** libpcap's reading at the edges, for its programs were made for its own interpreter. */
export const verdict = (code: readonly CbpfInstruction[], packet: Uint8Array): number =>
  runCbpf(code, packet, { flavor: "libpcap" });
