/** Events of programs as they are read: records of ring buffers, samples of perf buffers, now or as they come. */
import type { LinearMemory } from "../memory.ts";
import type { MapHost } from "./definition.ts";
import { type PerfEvent, perfWakeups, takePerfEvent } from "./perf.ts";
import { ringWakeups, takeRecord } from "./ring.ts";

export function* takeRecords(memory: LinearMemory, ring: number): Generator<Uint8Array> {
  for (let record = takeRecord(memory, ring); record !== undefined; record = takeRecord(memory, ring))
    yield record;
}

export function* takePerfEvents(memory: LinearMemory, buffers: readonly number[]): Generator<PerfEvent> {
  for (const buffer of buffers) {
    for (;;) {
      const event = takePerfEvent(memory, buffer);
      if (event === undefined) break;
      yield event;
    }
  }
}

/** Of one ring buffer, by its address, or of the perf buffers of all CPUs. It never ends by itself. */
export async function* eventsOf(
  { memory, change }: Pick<MapHost, "memory" | "change">,
  source: number | readonly number[],
): AsyncGenerator<Uint8Array | PerfEvent> {
  const words = typeof source === "number" ? [ringWakeups(source)] : source.map(perfWakeups);
  for (;;) {
    const seen = words.map((word) => memory.u32(word));
    if (typeof source === "number") yield* takeRecords(memory, source);
    else yield* takePerfEvents(memory, source);
    await Promise.race(words.map((word, index) => change(word, seen[index] as number)));
  }
}
