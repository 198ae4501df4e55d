import { existsSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { type Btf, type BtfType, parseBtf } from "../../src/btf/index.ts";
import { HOOKS } from "../../src/hooks/index.ts";
import {
  ATTACH_TYPES,
  HELPERS,
  MAP_TYPES,
  PROGRAM_TYPES,
  errnoName,
  helperId,
  helperName,
} from "../../src/uapi/index.ts";
import { needs } from "../helpers.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const hasBtf = existsSync(VMLINUX);

/** What the running kernel calls things; rows of other releases may be missing there or here. */
describe.skipIf(!hasBtf)(needs("the kernel's own enums", hasBtf, VMLINUX), () => {
  let btf: Btf;
  beforeAll(() => {
    btf = parseBtf(readFileSync(VMLINUX), { name: VMLINUX });
  });

  it.each([
    ["bpf_prog_type", "BPF_PROG_TYPE_", PROGRAM_TYPES],
    ["bpf_map_type", "BPF_MAP_TYPE_", MAP_TYPES],
    ["bpf_attach_type", "BPF_", ATTACH_TYPES],
  ] as const)("%s", (name, prefix, rows) => {
    const [type] = btf.find(name, "enum");
    if (type?.kind !== "enum") throw new Error(`${name} is no enum`);
    const theirs = new Map(type.values.map((row) => [row.name, Number(row.value)]));
    for (const row of rows) expect(theirs.get(prefix + row.name.toUpperCase()), row.name).toBe(row.id);
    const known = new Set(rows.map(({ id }) => id as number));
    for (const [key, value] of theirs) if (!/^__|UNSPEC/.test(key)) expect(known.has(value), key).toBe(true);
  });

  it("bpf_func_id", () => {
    const type =
      btf.find("bpf_func_id", "enum")[0] ??
      [...btf.types()].find(
        (row) => row.kind === "enum" && row.values.some(({ name }) => name === "BPF_FUNC_map_lookup_elem"),
      );
    if (type?.kind !== "enum") throw new Error("the enum of helpers is missing");
    const theirs = type.values.filter(({ name }) => /^BPF_FUNC_(?!unspec)/.test(name));
    expect(HELPERS.map(({ id, name }) => [`BPF_FUNC_${name}`, id])).toEqual(
      theirs.map(({ name, value }) => [name, Number(value)]),
    );
  });

  // The contexts that the header declares; probes' registers and the arguments of kernel functions are not in it.
  it.each(
    HOOKS.filter(({ context }) =>
      /^(__sk_buff|xdp_md|sk_\w+_md|bpf_(?!nf_|raw_|perf_)\w+)$/.test(context.struct),
    ).map((hook) => [hook.type, hook] as const),
  )("context of %s", (_type, { context }) => {
    const [type] = btf.find(context.struct, "struct");
    if (type?.kind !== "struct") throw new Error(`${context.struct} is no struct`);
    expect(type.size).toBe(context.size);
    const members = type.members.flatMap(({ name, bitOffset, type: id }) => {
      // Pointers stand in anonymous unions, so that they have 8 bytes everywhere; some unions nest.
      const inner = btf.type(id);
      const names = (union: BtfType): string[] =>
        union.kind === "union"
          ? union.members.flatMap((member) =>
              member.name === "" ? names(btf.type(member.type)) : [member.name],
            )
          : [];
      return (name === "" ? names(inner) : [name]).map((found) => [found, bitOffset / 8]);
    });
    expect(
      context.fields.filter(({ padding }) => padding !== true).map(({ name, offset }) => [name, offset]),
    ).toEqual(members.filter(([name]) => name !== "cookie"));
  });
});

describe("names", () => {
  it("of helpers, with and without bpf_", () => {
    expect(helperName(1)).toBe("map_lookup_elem");
    expect(helperId("bpf_csum_diff")).toBe(28);
    expect(helperId("csum_diff")).toBe(28);
    expect(helperName(9999)).toBeUndefined();
  });

  it("of errors", () => {
    expect(errnoName(-22)).toBe("EINVAL");
    expect(errnoName(524)).toBe("ENOTSUPP");
    expect(errnoName(4000)).toBe("4000");
  });
});
