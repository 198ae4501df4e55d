/** Sizes of maps that loaders set, as options: `--map-size NAME=ENTRIES[,VALUE_SIZE]`. */
import { BpfError } from "../errors.ts";
import type { MapSizes } from "../object/index.ts";
import type { Option, Values } from "./command.ts";

export const MAP_SIZE_OPTION: Option = {
  type: "string",
  value: "NAME=N",
  multiple: true,
  help: "entries of a map, NAME=N[,VALUE_SIZE], where a loader sets them; may be given more than once",
};

/** What `--map-size` says, as {@link LoadOptions.mapSizes} takes it. */
export function mapSizesOf(values: Values): Readonly<Record<string, MapSizes>> {
  const given = values["map-size"];
  const sizes: Record<string, MapSizes> = {};
  for (const word of Array.isArray(given) ? given : []) {
    const [, name, entries, valueSize] = /^([^=]+)=(\d+)(?:,(\d+))?$/.exec(String(word)) ?? [];
    if (name === undefined) {
      throw new BpfError(
        "usage",
        `--map-size: expected NAME=ENTRIES or NAME=ENTRIES,VALUE_SIZE, not '${word}'`,
      );
    }
    sizes[name] = {
      maxEntries: Number(entries),
      ...(valueSize === undefined ? {} : { valueSize: Number(valueSize) }),
    };
  }
  return sizes;
}
