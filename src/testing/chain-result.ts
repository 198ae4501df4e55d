/**
 * What a test program wrote into `suite_result_map`: a protocol buffer of Cilium's bpf/tests/bpftest/trf.proto, without an end
 * mark, in a value full of zeros. Messages: SuiteResult { 1: TestResult*, 2: Log* }, TestResult { 1: name, 2: status, 3: Log* }, Log { 1:
 * format, 2: fixed64 arguments }. Strings bring their C terminator along.
 */

/** By what a check returns, and in results: error, pass, fail, skip. */
export const TEST_STATUSES = ["error", "pass", "fail", "skip"] as const;
export type TestStatus = (typeof TEST_STATUSES)[number];

/** One named assertion. */
export interface CheckLine {
  readonly name: string;
  readonly status: TestStatus;
  readonly log: readonly string[];
}

export interface SuiteResult {
  readonly tests: readonly CheckLine[];
  readonly log: readonly string[];
}

interface WireField {
  readonly number: number;
  readonly value: number | bigint | Uint8Array;
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

/** Fields up to the first that is none: the zeros behind a message, or damage. */
function* fieldsOf(bytes: Uint8Array): Generator<WireField> {
  let at = 0;
  const varint = (): number | undefined => {
    let value = 0;
    for (let shift = 0; shift < 35 && at < bytes.length; shift += 7) {
      const byte = bytes[at++] as number;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const key = varint();
    if (key === undefined || key >> 3 === 0) return;
    const number = key >> 3;
    switch (key & 7) {
      case VARINT: {
        const value = varint();
        if (value === undefined) return;
        yield { number, value };
        break;
      }
      case FIXED64: {
        if (at + 8 > bytes.length) return;
        yield { number, value: new DataView(bytes.buffer, bytes.byteOffset + at, 8).getBigUint64(0, true) };
        at += 8;
        break;
      }
      case BYTES: {
        const length = varint();
        if (length === undefined || at + length > bytes.length) return;
        yield { number, value: bytes.subarray(at, at + length) };
        at += length;
        break;
      }
      default:
        return;
    }
  }
}

/** Reads results; of a damaged message what comes before the damage. */
export function readSuiteResult(bytes: Uint8Array): SuiteResult {
  const tests: CheckLine[] = [];
  const log: string[] = [];
  for (const { number, value } of fieldsOf(bytes)) {
    if (!(value instanceof Uint8Array)) continue;
    if (number === 1) tests.push(readTest(value));
    else if (number === 2) log.push(readLog(value));
  }
  return { tests, log };
}

function readTest(bytes: Uint8Array): CheckLine {
  let name = "";
  let status: TestStatus = "error";
  const log: string[] = [];
  for (const { number, value } of fieldsOf(bytes)) {
    if (number === 1 && value instanceof Uint8Array) name = text(value);
    else if (number === 2 && typeof value === "number") status = TEST_STATUSES[value] ?? "error";
    else if (number === 3 && value instanceof Uint8Array) log.push(readLog(value));
  }
  return { name, status, log };
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** `%d`, `%u`, `%x` with any number of `l`: without, 16 bits are shown, with one 32, with two 64, as Cilium's runner does. */
function readLog(bytes: Uint8Array): string {
  let format = "";
  const values: bigint[] = [];
  for (const { number, value } of fieldsOf(bytes)) {
    if (number === 1 && value instanceof Uint8Array) format = text(value);
    else if (number === 2 && typeof value === "bigint") values.push(value);
  }
  let next = 0;
  return format.replace(/%(l{0,2})([diuxs])/g, (_, width: string, letter: string) => {
    const value = values[next++];
    if (value === undefined) return "(missing)";
    const bits = 16 << width.length;
    if (letter === "x") return BigInt.asUintN(bits, value).toString(16);
    return String(letter === "u" ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value));
  });
}
