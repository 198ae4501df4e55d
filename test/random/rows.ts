/** Rows of the instruction table by what they do, so that the generator draws from the table itself. */
import { INSTRUCTIONS, type InstructionRow, type Semantics } from "../../src/isa/index.ts";

type Kind = Semantics["kind"];

/** A row whose semantics are of one kind. */
export interface RowOf<K extends Kind> extends InstructionRow {
  readonly semantics: Extract<Semantics, { kind: K }>;
}

export function rowsOf<K extends Kind>(
  kind: K,
  matches: (semantics: Extract<Semantics, { kind: K }>) => boolean = () => true,
): readonly RowOf<K>[] {
  return INSTRUCTIONS.filter(
    (row): row is RowOf<K> =>
      row.semantics.kind === kind && matches(row.semantics as Extract<Semantics, { kind: K }>),
  );
}

const BY_NAME: ReadonlyMap<string, InstructionRow> = new Map(INSTRUCTIONS.map((row) => [row.name, row]));

export function rowNamed(name: string): InstructionRow {
  const row = BY_NAME.get(name);
  if (row === undefined) throw new Error(`the instruction table has no row '${name}'`);
  return row;
}

/** Rows that no program of the generated types can run, with the reason. */
export const OUT_OF_REACH: Readonly<Record<string, string>> = {
  callx: "no Linux accepts it",
  cast_kern: "needs an arena",
  cast_user: "needs an arena",
  lddw_btf_id: "needs a kernel variable by BTF id",
  lddw_func: "needs BTF of a callback",
  lddw_map_idx: "a loader's way to name a map; map_fd here",
  lddw_map_idx_value: "a loader's way to name a map; map_value here",
  call_kfunc: "needs a kernel function by BTF id",
};
