/** Types of host.mjs, for tests. */
interface Row {
  readonly name: string;
  readonly type: string;
  readonly keySize: number;
  readonly valueSize: number;
}

interface ProgramRow {
  readonly name: string;
  readonly type: string;
  readonly packets: boolean;
}

interface Exports {
  readonly memory: WebAssembly.Memory;
  packet_buffer(size: number): number;
  run(program: number, length: number): number;
  result(): number;
  run_batch(program: number, records: number, count: number): number;
  batch_done(program: number): number;
  call(program: number, r1: number, r2: number): bigint;
  context(program: number): number;
  fault(): number;
  map_lookup(map: number, key: number, value: number): number;
  map_update(map: number, key: number, value: number, flags: bigint): number;
  ring_peek(map: number): number;
  ring_consume(map: number): void;
  alloc(size: number): number;
  free(address: number): void;
  manifest(): number;
  manifest_size(): number;
}

export function open(
  bytes: Uint8Array,
  host?: Readonly<Record<string, CallableFunction>>,
): {
  readonly skep: Exports;
  readonly programs: readonly ProgramRow[];
  readonly maps: readonly Row[];
  readonly run: (packet: Uint8Array, program?: number) => number;
  readonly entries: (map: number) => Generator<[key: Uint8Array, value: Uint8Array]>;
};

export function packetsOf(pcap: Buffer): Buffer[];
