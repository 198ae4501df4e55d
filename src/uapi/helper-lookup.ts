import { HELPER_ACCESS } from "./helper-access.ts";
import { type HelperName, helperName } from "./helpers.ts";
import { PROTOTYPES, type PrototypeRow } from "./prototypes.ts";
import type { AttachType, ProgramType } from "./types.ts";

/** What decides which helpers a program has and what they take. */
export interface HelperContext {
  readonly type: ProgramType;
  readonly attachType?: AttachType;
  readonly sleepable?: boolean;
}

interface AccessRow {
  readonly type: ProgramType;
  readonly attach?: readonly AttachType[];
  readonly helpers: string;
}

/** The rows that somebody has asked for, with their ids read. Reading all at the first question took 7 ms of a command's start. */
const read = new Map<string, ReadonlySet<number>>();
const NONE: ReadonlySet<number> = new Set();

/** The ids that a table row writes as ranges: "1-3 7" is 1, 2, 3, 7. */
function idsOf(ranges: string): ReadonlySet<number> {
  const known = read.get(ranges);
  if (known !== undefined) return known;
  const ids = new Set<number>();
  for (const range of ranges.split(" ")) {
    const [from = 0, to = from] = range.split("-").map(Number);
    for (let id = from; id <= to; id++) ids.add(id);
  }
  read.set(ranges, ids);
  return ids;
}

/**
 * The ids of the helpers that a program may call. Licence, sleeping and the function that it attaches to restrict
 * them further: see {@link PrototypeRow}. Extensions (`ext`) have the helpers of the program that they extend: the set is empty.
 *
 * @example
 * allowedHelpers({ type: "xdp" }).has(44); // true: xdp_adjust_head
 */
export function allowedHelpers({ type, attachType }: HelperContext): ReadonlySet<number> {
  // A program that names no attach type, or one that matters nothing, has the first row of its type.
  let chosen: AccessRow | undefined;
  for (const row of HELPER_ACCESS as readonly AccessRow[]) {
    if (row.type !== type) continue;
    chosen ??= row;
    if (attachType !== undefined && row.attach?.includes(attachType) === true) {
      chosen = row;
      break;
    }
  }
  return chosen === undefined ? NONE : idsOf(chosen.helpers);
}

const BY_NAME = new Map<HelperName, PrototypeRow[]>();
for (const row of PROTOTYPES) BY_NAME.set(row.helper, [...(BY_NAME.get(row.helper) ?? []), row]);

/**
 * What a helper takes and returns when such a program calls it; undefined if Linux has no helper of that id. Whether the program
 * may call it is another question: {@link allowedHelpers}.
 *
 * @example
 * prototypeOf(1, { type: "xdp" })?.args; // ["const_map_ptr", "ptr_to_map_key"]
 */
export function prototypeOf(
  id: number,
  { type, attachType, sleepable = false }: HelperContext,
): PrototypeRow | undefined {
  const name = helperName(id);
  if (name === undefined) return undefined;
  const rows = BY_NAME.get(name) ?? [];
  const special = rows.find(({ where }) => {
    if (where === undefined) return false;
    if (where.types?.includes(type) === false || (where.sleepable === true && !sleepable)) return false;
    return where.attach === undefined || (attachType !== undefined && where.attach.includes(attachType));
  });
  return special ?? rows.find(({ where }) => where === undefined);
}
