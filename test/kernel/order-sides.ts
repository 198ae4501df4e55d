/** Programs that carry out orders of the host, in the kernel and here: an order goes in, what became of it comes out. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { RING_AT, RING_CONSUMER, RING_DATA, RING_PRODUCER } from "../../src/core/layout.ts";
import { BpfError } from "../../src/errors.ts";
import { KernelMachine, possibleCpus } from "../../src/kernel/index.ts";
import { vmlinuxBtf } from "../../src/kernel/vmlinux.ts";
import { type Engine, Machine, type RunInput, type WorldOptions } from "../../src/machine/index.ts";
import { type ObjectSpec, parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { Own } from "./libc.ts";

/** Offsets in struct order. */
export const ORDER = {
  op: 0,
  cpu: 4,
  flags: 8,
  index: 16,
  other: 20,
  key: 24,
  value: 56,
  result: 120,
  read: 128,
  bytes: 192,
} as const;

/** Something that the host does between two orders; "put" with a number puts in the object of that number. */
export type HostAct =
  | { readonly act: "put"; readonly key: Uint8Array; readonly value: Uint8Array | number }
  | { readonly act: "delete"; readonly key: Uint8Array }
  /** All records are read. */
  | { readonly act: "consume" }
  /** A record for a user ring buffer: its header's word, and how far the producer moves on; the bytes follow. */
  | { readonly act: "produce"; readonly word: number; readonly step: number; readonly value: Uint8Array };

/** What a ring buffer's pages hold. */
export interface RingPages {
  readonly consumer: DataView;
  readonly producer: DataView;
  readonly data: Uint8Array;
}

export interface OrderSide {
  /** What the run returned and the order as it is afterwards. */
  run(order: Uint8Array, cpu: number): { readonly status: number; readonly order: Uint8Array };
  do(act: HostAct): void;
  readonly pages: (() => RingPages) | undefined;
  close(): void;
}

/** Objects that the host puts into the map, as each side has them. */
export interface OrderObjects {
  /** Descriptors, by number. */
  fds(machine: KernelMachine, own: Own, loaded: ReturnType<KernelMachine["load"]>): number[];
  /** By number. */
  ours(machine: Machine, loaded: Awaited<ReturnType<Machine["load"]>>): unknown[];
}

/** Which program of which object, the map that the host changes, and what else must be loaded. */
export interface OrderProgram {
  readonly object: string;
  readonly program: string;
  readonly map?: string;
  readonly programs?: readonly string[];
}

const read = (object: string): ObjectSpec =>
  parseObject(readFileSync(join(ROOT, "test/fixtures", object)), { name: object });
const KEY = new Uint8Array(4);
const PACKET = new Uint8Array(64);
const PAGE = 4096;
/** What a run takes of us, in the kernel and here. */
function inputOf(spec: ObjectSpec, program: string): { theirs: { data?: Uint8Array }; ours: RunInput } {
  const type = spec.programs[program]?.type;
  if (type === "raw_tracepoint") return { theirs: {}, ours: { args: [0, 0] } };
  return type === "syscall"
    ? { theirs: {}, ours: {} }
    : { theirs: { data: PACKET }, ours: { packet: PACKET } };
}

/** Writes a record where the producer stands, whole or not. */
function produce({ producer, data }: RingPages, { word, step, value }: HostAct & { act: "produce" }): void {
  const at = producer.getBigUint64(0, true);
  const offset = Number(at % BigInt(PAGE));
  const put = (bytes: Uint8Array, from: number): void =>
    bytes.forEach((byte, index) => (data[(offset + from + index) % PAGE] = byte));
  put(new Uint8Array(Uint32Array.of(word, 0).buffer), 0);
  put(value, 8);
  producer.setBigUint64(0, at + BigInt(step), true);
}

/** The ring is empty, and nothing of it stays to be misread. */
function consume({ consumer, producer }: RingPages): void {
  consumer.setBigUint64(0, producer.getBigUint64(0, true), true);
}

function act(pages: (() => RingPages) | undefined, todo: HostAct): boolean {
  if (pages === undefined) return false;
  if (todo.act === "produce") produce(pages(), todo);
  if (todo.act === "consume") consume(pages());
  return todo.act === "produce" || todo.act === "consume";
}

function loadOrClose(
  machine: KernelMachine,
  spec: ObjectSpec,
  programs: readonly string[],
): ReturnType<KernelMachine["load"]> {
  try {
    return machine.load(spec, { programs });
  } catch (error) {
    machine.close();
    throw error;
  }
}

export async function kernelOrders(
  { object, program, map: mapName = ".bss", programs = [] }: OrderProgram,
  objects?: OrderObjects,
): Promise<OrderSide> {
  const spec = read(object);
  const machine = await KernelMachine.create();
  const own = new Own();
  const loaded = loadOrClose(machine, spec, [program, ...programs]);
  const bss = loaded.maps[".bss"]!.raw;
  const map = loaded.maps[mapName]!.raw;
  const fds = objects?.fds(machine, own, loaded) ?? [];
  const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let pages: (() => RingPages) | undefined;
  if (map.type === "ringbuf") {
    const consumer = own.pages(map.fd, PAGE, 0);
    const rest = own.pages(map.fd, 3 * PAGE, PAGE, { write: false });
    const all = { consumer: view(consumer), producer: view(rest), data: rest.subarray(PAGE, 2 * PAGE) };
    pages = () => all;
  } else if (map.type === "user_ringbuf") {
    const consumer = own.pages(map.fd, PAGE, 0, { write: false });
    const rest = own.pages(map.fd, 2 * PAGE, PAGE);
    const all = { consumer: view(consumer), producer: view(rest), data: rest.subarray(PAGE) };
    pages = () => all;
  }
  return {
    run(order) {
      bss.update(KEY, order);
      const { theirs } = inputOf(spec, program);
      const status = loaded.programs[program]!.raw.testRun(theirs).returnValue | 0;
      return { status, order: bss.lookup(KEY)! };
    },
    do(todo) {
      if (act(pages, todo)) return;
      if (todo.act === "delete") map.element("map_delete_elem", todo.key, undefined, 0);
      if (todo.act !== "put") return;
      const value = new Uint8Array(map.valueBytes);
      if (typeof todo.value === "number") new DataView(value.buffer).setInt32(0, fds[todo.value] ?? -1, true);
      else value.set(todo.value);
      map.element("map_update_elem", todo.key, value, 0);
    },
    pages,
    close() {
      own[Symbol.dispose]();
      machine.close();
    },
  };
}

export async function machineOrders(
  { object, program, map: mapName = ".bss", programs = [] }: OrderProgram,
  {
    engine,
    world = {},
    objects,
  }: {
    readonly engine: Engine;
    readonly world?: WorldOptions;
    readonly objects?: OrderObjects | undefined;
  },
): Promise<OrderSide> {
  const spec = read(object);
  const machine = await Machine.create({ engine, cpus: possibleCpus(), btf: vmlinuxBtf(), world });
  const loaded = await machine.load(spec, { programs: [program, ...programs] });
  const bss = loaded.maps[".bss"]!;
  const map = loaded.maps[mapName]!;
  const own = objects?.ours(machine, loaded) ?? [];
  const attempt = (work: () => unknown): void => {
    try {
      work();
    } catch (error) {
      if (!(error instanceof BpfError) || error.errno === undefined) throw error;
    }
  };
  const ring = (): RingPages => {
    const at = machine.memory.u32(map.address + RING_AT);
    const view = (offset: number): DataView => new DataView(machine.memory.u8.buffer, at + offset, 8);
    return {
      consumer: view(RING_CONSUMER),
      producer: view(RING_PRODUCER),
      data: machine.memory.u8.subarray(at + RING_DATA, at + RING_DATA + PAGE),
    };
  };
  const pages = map.type.endsWith("ringbuf") ? ring : undefined;
  return {
    run(order, cpu) {
      bss.update(KEY, order);
      const { ours } = inputOf(spec, program);
      const status = loaded.programs[program]!.run({ ...ours, cpu, engine }).returnValue | 0;
      return { status, order: bss.lookup(KEY)! };
    },
    do(todo) {
      if (act(pages, todo)) return;
      attempt(() => {
        if (todo.act === "delete") map.delete(todo.key);
        if (todo.act !== "put") return;
        const { key, value } = todo;
        if (value instanceof Uint8Array)
          map.update(
            key,
            Uint8Array.from({ length: map.valueSize }, (_, at) => value[at] ?? 0),
          );
        else map.set(map.type === "prog_array" ? key[0] : key, own[value]);
      });
    },
    pages,
    close: () => undefined,
  };
}

/** What the host orders; what is left out is zero. */
export interface Order {
  readonly op: number;
  readonly flags?: number | bigint;
  readonly index?: number;
  readonly other?: number;
  readonly key?: Uint8Array;
  readonly value?: Uint8Array;
}

function bytesOf({ op, flags = 0, index = 0, other = 0, key, value }: Order): Uint8Array {
  const bytes = new Uint8Array(ORDER.bytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(ORDER.op, op, true);
  view.setBigUint64(ORDER.flags, BigInt(flags), true);
  view.setUint32(ORDER.index, index, true);
  view.setUint32(ORDER.other, other, true);
  if (key !== undefined) bytes.set(key, ORDER.key);
  if (value !== undefined) bytes.set(value, ORDER.value);
  return bytes;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** What a run has left, in words, and the CPU that it was on. */
function answer(
  side: OrderSide,
  order: Uint8Array,
  cpu: number,
  judge: (result: bigint) => bigint,
): { text: string; cpu: number } {
  const done = side.run(order, cpu);
  const view = new DataView(done.order.buffer, done.order.byteOffset);
  const ring = side.pages?.();
  const positions =
    ring === undefined
      ? ""
      : ` ${ring.consumer.getBigUint64(0, true)} ${ring.producer.getBigUint64(0, true)} ${hex(ring.data)}`;
  const result = judge(view.getBigInt64(ORDER.result, true));
  return {
    text: `${done.status} ${result} ${hex(done.order.subarray(ORDER.read, ORDER.bytes))}${positions}`,
    cpu: view.getUint32(ORDER.cpu, true),
  };
}

export interface Step {
  /** What the host does before. */
  readonly act?: HostAct | undefined;
  readonly order: Order;
}

/** The first steps whose outcomes differ; `judge` leaves of a result what is the interface. Our sides run on the CPU that the kernel took. */
export function firstDifferences(
  steps: readonly Step[],
  theirs: OrderSide,
  ours: readonly OrderSide[],
  judge: (result: bigint) => bigint = (result) => result,
): string[] {
  const found: string[] = [];
  for (const [at, { act: todo, order }] of steps.entries()) {
    if (todo !== undefined) for (const side of [theirs, ...ours]) side.do(todo);
    const bytes = bytesOf(order);
    const wanted = answer(theirs, bytes, 0, judge);
    for (const [index, side] of ours.entries()) {
      const { text } = answer(side, bytes, wanted.cpu, judge);
      if (text === wanted.text) continue;
      const { op, flags = 0, index: number = 0, other = 0 } = order;
      const shown = `${at} op ${op} flags ${flags} index ${number} other ${other} key ${hex(bytes.subarray(24, 40))} value ${hex(bytes.subarray(56, 88))}`;
      found.push(`${shown}: side ${index} ${text}, the kernel ${wanted.text}`);
    }
    if (found.length >= 4) break;
  }
  return found;
}
