/** Values as maps and events give them: compared and shown. Numbers and bigints of the same value are the same. */

export function sameValue(a: unknown, b: unknown): boolean {
  return compare(a, b, false);
}

/** Whether `actual` has all that `expected` has: objects may have more members. */
export function includesValue(actual: unknown, expected: unknown): boolean {
  return compare(actual, expected, true);
}

function compare(a: unknown, b: unknown, partial: boolean): boolean {
  if (Object.is(a, b)) return true;
  if (isNumber(a) && isNumber(b)) return Number.isNaN(a) || Number.isNaN(b) ? false : a == b;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Uint8Array || b instanceof Uint8Array || Array.isArray(a) || Array.isArray(b)) {
    const [left, right] = [a, b] as [ArrayLike<unknown>, ArrayLike<unknown>];
    if (left.length === undefined || left.length !== right.length) return false;
    return Array.from(left).every((item, index) => compare(item, right[index], partial));
  }
  const [left, right] = [a, b] as [Record<string, unknown>, Record<string, unknown>];
  const names = Object.keys(right);
  if (!partial && names.length !== Object.keys(left).length) return false;
  return names.every((name) => Object.hasOwn(left, name) && compare(left[name], right[name], partial));
}

function isNumber(value: unknown): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

/** A value in one line: `{ saddr: 167772161, packets: 3 }`; long lists are cut, bytes are hex. */
export function showValue(value: unknown): string {
  if (typeof value === "bigint") return `${value}`;
  if (typeof value === "string") return JSON.stringify(value);
  if (value instanceof Uint8Array)
    return `0x${Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  if (Array.isArray(value)) {
    const shown = value.slice(0, 32).map(showValue);
    return `[${shown.join(", ")}${value.length > 32 ? `, and ${value.length - 32} more` : ""}]`;
  }
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([name, member]) => `${name}: ${showValue(member)}`);
    return members.length === 0 ? "{}" : `{ ${members.join(", ")} }`;
  }
  return String(value);
}
