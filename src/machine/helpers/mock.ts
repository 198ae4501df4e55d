/** Helpers that a test answers itself, or only watches. */
import { BpfError } from "../../errors.ts";
import type { LinearMemory } from "../memory.ts";

/** One call of a helper that is watched. */
export interface HelperRecord {
  /** The program that made it. */
  readonly program: string;
  readonly cpu: number;
  /** r1 to r5, as many as the helper takes. */
  readonly args: readonly bigint[];
  /** r0, as a signed number; undefined while the call is under way and after it threw. */
  readonly result: bigint | undefined;
}

/** What a function that stands in for a helper is given. Valid only during the call. */
export interface HelperCall {
  readonly name: string;
  readonly program: string;
  readonly cpu: number;
  /** r1 to r5 unsigned, as many as the helper takes. */
  readonly args: readonly bigint[];
  /** An argument from 1 on: its low 32 bits. */
  u32(argument: number): number;
  /** An argument from 1 on: its low 32 bits, signed. */
  i32(argument: number): number;
  /** The memory that an argument points to: a view, so writing changes what the program sees. */
  bytes(argument: number, length: number): Uint8Array;
  /** The same as numbers of any width. */
  view(argument: number, length: number): DataView;
  /** The text that an argument points to, up to a NUL or `limit` bytes (default 4096). */
  string(argument: number, limit?: number): string;
  /** What the helper itself would have answered; it is run now. */
  original(): bigint;
}

/** The result goes to r0: a number is sign-extended. */
export type HelperMock = (call: HelperCall) => number | bigint;

/** A helper that is watched, until `restore`. */
export interface HelperSpy {
  readonly name: string;
  /** All calls since the watching began or {@link HelperSpy.clear}, oldest first. */
  readonly calls: readonly HelperRecord[];
  clear(): void;
  /** The helper is again what it was before this mock. */
  restore(): void;
}

export interface CallSite {
  readonly name: string;
  readonly program: string;
  readonly cpu: number;
  readonly args: readonly bigint[];
  readonly memory: LinearMemory;
  original(): bigint;
  /** Of a sandboxed program: whether it may touch these bytes itself. */
  mayTouch?(address: number, length: number): boolean;
}

/** More records than that are kept by nobody: a run over a capture would fill the host's memory. */
const MAX_RECORDS = 100_000;

export class Spy implements HelperSpy {
  readonly name: string;
  readonly #records: HelperRecord[] = [];
  readonly #mock: HelperMock | undefined;
  readonly #restore: () => void;

  constructor(name: string, mock: HelperMock | undefined, restore: () => void) {
    this.name = name;
    this.#mock = mock;
    this.#restore = restore;
  }

  get calls(): readonly HelperRecord[] {
    return this.#records;
  }

  clear(): void {
    this.#records.length = 0;
  }

  restore(): void {
    this.#restore();
  }

  /** @returns r0. */
  run(site: CallSite): bigint {
    const { program, cpu, args } = site;
    const record = { program, cpu, args, result: undefined as bigint | undefined };
    if (this.#records.length < MAX_RECORDS) this.#records.push(record);
    const answer = this.#mock === undefined ? site.original() : this.#mock(new Call(site));
    record.result = BigInt.asIntN(64, toInteger(this.name, answer));
    return record.result;
  }
}

function toInteger(name: string, answer: unknown): bigint {
  if (typeof answer === "bigint") return answer;
  if (typeof answer === "number" && Number.isInteger(answer)) return BigInt(answer);
  throw new BpfError(
    "usage",
    `mock of bpf_${name}: it must return a whole number or a bigint, not ${String(answer)}`,
  );
}

class Call implements HelperCall {
  readonly name: string;
  readonly program: string;
  readonly cpu: number;
  readonly args: readonly bigint[];
  readonly #site: CallSite;

  constructor(site: CallSite) {
    this.#site = site;
    this.name = site.name;
    this.program = site.program;
    this.cpu = site.cpu;
    this.args = site.args;
  }

  #value(argument: number): bigint {
    const value = this.args[argument - 1];
    if (value !== undefined) return value;
    throw new BpfError(
      "usage",
      `mock of bpf_${this.name}: no argument ${argument}, it has ${this.args.length} (from 1 on)`,
    );
  }

  u32(argument: number): number {
    return Number(BigInt.asUintN(32, this.#value(argument)));
  }

  i32(argument: number): number {
    return this.u32(argument) | 0;
  }

  #address(argument: number, length: number): number {
    const value = this.#value(argument);
    const size = this.#site.memory.u8.length;
    if (value + BigInt(length) <= BigInt(size)) {
      this.#mustBeOwn(argument, Number(value), length);
      return Number(value);
    }
    throw new BpfError(
      "fault",
      `mock of bpf_${this.name}: argument ${argument} is 0x${value.toString(16)}, ${length} bytes there are outside the machine's memory`,
    );
  }

  #mustBeOwn(argument: number, address: number, length: number): void {
    if (length === 0 || this.#site.mayTouch?.(address, length) !== false) return;
    throw new BpfError(
      "fault",
      `mock of bpf_${this.name}: argument ${argument} is 0x${address.toString(16)}, ${length} bytes there are not the sandboxed program's`,
    );
  }

  bytes(argument: number, length: number): Uint8Array {
    const address = this.#address(argument, length);
    return this.#site.memory.u8.subarray(address, address + length);
  }

  view(argument: number, length: number): DataView {
    const bytes = this.bytes(argument, length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  string(argument: number, limit = 4096): string {
    const address = this.#address(argument, 0);
    const bytes = this.#site.memory.u8.subarray(address, address + limit);
    const end = bytes.indexOf(0);
    this.#mustBeOwn(argument, address, end < 0 ? bytes.length : end + 1);
    return new TextDecoder().decode(bytes.slice(0, end < 0 ? bytes.length : end));
  }

  original(): bigint {
    return this.#site.original();
  }
}
