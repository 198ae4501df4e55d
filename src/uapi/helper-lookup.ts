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

interface Access {
  readonly type: ProgramType;
  readonly attach?: readonly AttachType[];
  readonly ids: ReadonlySet<number>;
}

let access: readonly Access[] | undefined;

/** The ids that a table row writes as ranges: "1-3 7" is 1, 2, 3, 7. */
function idsOf(ranges: string): ReadonlySet<number> {
  const ids = new Set<number>();
  for (const range of ranges.split(" ")) {
    const [from = 0, to = from] = range.split("-").map(Number);
    for (let id = from; id <= to; id++) ids.add(id);
  }
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
  access ??= HELPER_ACCESS.map(({ helpers, ...row }) => ({ ...row, ids: idsOf(helpers) }));
  const rows = access.filter((row) => row.type === type);
  const fitting = rows.find(
    ({ attach }) => attachType !== undefined && attach?.includes(attachType) === true,
  );
  // A program that names no attach type, or one that matters nothing, has the first row of its type.
  return (fitting ?? rows[0])?.ids ?? new Set();
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
