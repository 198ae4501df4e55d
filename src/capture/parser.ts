/** What the reader asks of the parser of a format. */

import type { BpfError } from "../errors.ts";
import type { PacketBatch } from "./types.ts";

/** A contiguous piece of the file. */
export interface Window {
  data: Uint8Array;
  view: DataView;
  /** Where in the file `data[0]` stands. */
  base: number;
}

/** Turns bytes into rows of a batch. It keeps no bytes of its own: what it cannot use yet, the reader keeps for it. */
export interface RecordParser {
  /**
   * After `parse`: how many bytes must stand at the position it returned before it can go on; 0 when the batch is full.
   * The number comes from the file, so it is bounded, and the reader still buffers only bytes that are there.
   */
  need: number;
  /** Why it cannot go on at all. */
  failure: BpfError | undefined;
  /** Whether the failure means that the file is no capture at all. */
  readonly foreign: boolean;
  /** Whether the file must not end here, although no byte of the next record has been seen. */
  readonly midway: boolean;
  /** Reads records from `start`, appends packets to the batch and returns where it stopped. */
  parse(window: Window, start: number, end: number, batch: PacketBatch): number;
  /** Says what is missing when the file ends at the last position, with `available` bytes after it. */
  describePending(offset: number, available: number, packet: number): string;
}
