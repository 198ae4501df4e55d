/** What `--json` prints: a version first, bigints as numbers where they are exact and as strings otherwise, bytes as hex. */

/** Grows when a field changes its meaning or goes; new fields may come at any time. */
export const JSON_VERSION = 1;

export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === "bigint") {
      return item >= Number.MIN_SAFE_INTEGER && item <= Number.MAX_SAFE_INTEGER
        ? Number(item)
        : item.toString();
    }
    if (item instanceof Uint8Array) return hex(item);
    return item;
  });
}

/** Bytes as lower-case hex digits without separators. */
export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}
