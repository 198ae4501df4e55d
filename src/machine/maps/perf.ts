/** Perf buffers as user space has them: one for each CPU, filled by bpf_perf_event_output. */
import {
  PERF_CPU,
  PERF_DATA,
  PERF_HEAD,
  PERF_ID,
  PERF_SIZE,
  PERF_TAIL,
  PERF_WAKEUPS,
} from "../../core/layout.ts";
import { BpfError } from "../../errors.ts";
import type { LinearMemory } from "../memory.ts";

/** One sample, or how many samples of a CPU were lost because its buffer was full. */
export type PerfEvent =
  | { readonly cpu: number; readonly data: Uint8Array; readonly lost?: undefined }
  | { readonly cpu: number; readonly lost: number; readonly data?: undefined };

const PAGE = 4096;
const RECORD_LOST = 2;
const HEADER = 8;

/** A buffer of so many pages of data, a power of two; its address. */
export function createPerfBuffer(memory: LinearMemory, cpu: number, pages: number, what: string): number {
  if (!Number.isInteger(pages) || pages < 1 || (pages & (pages - 1)) !== 0) {
    throw new BpfError("usage", `${what}: the number of pages must be a power of two, not ${pages}`);
  }
  const buffer = memory.alloc(PERF_DATA + pages * PAGE, what, 64);
  memory.setU32(buffer + PERF_SIZE, pages * PAGE);
  memory.setU32(buffer + PERF_CPU, cpu);
  memory.setU32(buffer + PERF_ID, cpu + 1);
  return buffer;
}

export function perfWakeups(buffer: number): number {
  return buffer + PERF_WAKEUPS;
}

/** Takes the next record out of a buffer. The data of a sample ends with the bytes that pad it to a multiple of 8, less 4. */
export function takePerfEvent(memory: LinearMemory, buffer: number): PerfEvent | undefined {
  const tail = memory.u64(buffer + PERF_TAIL);
  if (tail === memory.u64(buffer + PERF_HEAD)) return undefined;
  const size = memory.u32(buffer + PERF_SIZE);
  const cpu = memory.u32(buffer + PERF_CPU);
  const read = (from: number, length: number): Uint8Array => {
    const offset = (Number(tail & 0xffffffffn) + from) & (size - 1);
    const bytes = new Uint8Array(length);
    const first = Math.min(length, size - offset);
    bytes.set(memory.u8.subarray(buffer + PERF_DATA + offset, buffer + PERF_DATA + offset + first));
    bytes.set(memory.u8.subarray(buffer + PERF_DATA, buffer + PERF_DATA + length - first), first);
    return bytes;
  };
  const header = new DataView(read(0, HEADER).buffer);
  const length = header.getUint16(6, true);
  const body = read(HEADER, length - HEADER);
  memory.setU64(buffer + PERF_TAIL, tail + BigInt(length));
  const view = new DataView(body.buffer);
  if (header.getUint32(0, true) === RECORD_LOST) return { cpu, lost: Number(view.getBigUint64(8, true)) };
  return { cpu, data: body.subarray(4, 4 + view.getUint32(0, true)) };
}
