/** What the compiled module and its caller agree on: memory, and the locals of its function. */
import { CBPF_ANCILLARY } from "./ancillary.ts";

/** Where the module finds its input, as byte offsets in the memory. */
export const MATCHER_LAYOUT = {
  /** One 32-bit value for each row of CBPF_ANCILLARY. */
  ancillary: 0,
  /** Where the network header begins. */
  networkOffset: 4 * CBPF_ANCILLARY.length,
  /** Columns of 32-bit values, one for each packet. */
  offsets: 0x1000,
  lengths: 0x1000 + 4 * 4096,
  wireLengths: 0x1000 + 8 * 4096,
  values: 0x1000 + 12 * 4096,
  /** Where packet bytes can begin. */
  data: 0x20000,
} as const;

/** Packets that one call of the module can take. */
export const MATCHER_BATCH = 4096;

/** Locals, by index. */
export const LOCALS = {
  /** How many packets, and where and how long the data is: the parameters. */
  count: 0,
  base: 1,
  dataLength: 2,
  /** Offset of the packet's row in the columns, and of the end. */
  column: 3,
  end: 4,
  /** Address and length of the packet. */
  packet: 5,
  length: 6,
  /** The value so far, which is the answer once the program has left its block. */
  value: 7,
  a: 8,
  x: 9,
  /** For the moment. */
  offset: 10,
  matched: 11,
  /** The first of the scratch cells. */
  cells: 12,
} as const;

export const PARAMETER_COUNT = 3;
