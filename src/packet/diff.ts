/** What differs between two packets, in the words of their headers. */
import { describeField, type DissectedLayer, dissect, hex } from "./dissect.ts";
import type { HeaderName } from "./headers.ts";

/** One difference. */
export interface PacketDifference {
  /** "ipv4.ttl", "payload", "length"; "layers" where the packets are made of different headers. */
  readonly where: string;
  readonly expected: string;
  readonly actual: string;
}

/**
 * Compares two packets field by field; empty if they are the same bytes. From the first header on that only one of them has, what
 * is left is compared as bytes.
 *
 * @example
 * diffPackets(expected, run.packet); // [{ where: "ipv4.ttl", expected: "64", actual: "63" }]
 */
export function diffPackets(
  expected: Uint8Array,
  actual: Uint8Array,
  first: HeaderName = "eth",
): readonly PacketDifference[] {
  const [wanted, found] = [dissect(expected, first), dissect(actual, first)];
  const differences: PacketDifference[] = [];
  if (expected.length !== actual.length)
    differences.push({ where: "length", expected: `${expected.length}`, actual: `${actual.length}` });
  const names = (layers: readonly DissectedLayer[]): string => layers.map(({ name }) => name).join(" ");
  if (names(wanted) !== names(found))
    differences.push({ where: "layers", expected: names(wanted), actual: names(found) });
  const seen = new Map<string, number>();
  for (const [index, layer] of wanted.entries()) {
    const other = found[index];
    const count = (seen.get(layer.name) ?? 0) + 1;
    seen.set(layer.name, count);
    // The second IPv4 header of a tunnel is "ipv4#2".
    const label = count === 1 ? layer.name : `${layer.name}#${count}`;
    if (other === undefined || other.name !== layer.name || layer.name === "payload") {
      differences.push(
        ...diffBytes(label, expected.subarray(layer.offset), actual.subarray(other?.offset ?? actual.length)),
      );
      break;
    }
    for (const name of new Set([...layer.fields, ...other.fields].map((field) => field.name))) {
      const [left, right] = [layer, other].map((from) => describeField(from, name)) as [string, string];
      if (left !== right) differences.push({ where: `${label}.${name}`, expected: left, actual: right });
    }
  }
  return differences;
}

const SHOWN = 16;

function diffBytes(label: string, expected: Uint8Array, actual: Uint8Array): PacketDifference[] {
  const length = Math.max(expected.length, actual.length);
  let at = 0;
  while (at < length && expected[at] === actual[at]) at++;
  if (at === length) return [];
  const show = (bytes: Uint8Array): string =>
    at >= bytes.length
      ? "ends"
      : hex(bytes.subarray(at, at + SHOWN)) + (bytes.length > at + SHOWN ? "..." : "");
  return [{ where: `${label}[${at}]`, expected: show(expected), actual: show(actual) }];
}
