import { type Fate, returnName } from "../../hooks/index.ts";
import type { Packets, Program } from "../../machine/index.ts";

/** How often a program gave one answer. */
export interface Tally {
  readonly value: number;
  readonly name: string;
  readonly fate: Fate;
  readonly packets: number;
  /** Captured bytes of these packets. */
  readonly bytes: number;
}

/** Counts answers. Socket filters answer with a length, so those that keep a packet are one row. */
export class Verdicts {
  packets = 0;
  bytes = 0;
  readonly #program: Program;
  readonly #tallies = new Map<string, { value: number; packets: number; bytes: number }>();

  constructor(program: Program) {
    this.#program = program;
  }

  add(results: Uint32Array, { capturedLength, count }: Packets, faulted: ReadonlySet<number>): void {
    const { hook } = this.#program;
    // Names are looked up once for each value and batch: there are few values and many packets.
    const rows = new Map<number, { value: number; packets: number; bytes: number }>();
    for (let index = 0; index < count; index++) {
      const length = capturedLength[index] as number;
      this.packets++;
      this.bytes += length;
      if (faulted.size > 0 && faulted.has(index)) continue;
      const result = results[index] as number;
      let row = rows.get(result);
      if (row === undefined) {
        const value = this.#program.readResult(result);
        const name = returnName(hook, value);
        row = this.#tallies.get(name) ?? { value, packets: 0, bytes: 0 };
        this.#tallies.set(name, row);
        rows.set(result, row);
      }
      row.packets++;
      row.bytes += length;
    }
  }

  /** By value. */
  rows(): Tally[] {
    const { packetHook: hook } = this.#program;
    return [...this.#tallies]
      .map(([name, row]) => ({ name, fate: hook.packet.fate(row.value), ...row }))
      .sort((a, b) => a.value - b.value);
  }
}
