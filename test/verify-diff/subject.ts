/** What is judged: programs of objects and of instruction lists, in one shape for both verifiers. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import { parseBtf } from "../../src/btf/index.ts";
import type { Btf, CoreTarget } from "../../src/btf/index.ts";
import { decodeInstructions } from "../../src/isa/index.ts";
import {
  type LinkedProgram,
  type MapSpec,
  type ObjectSpec,
  linkProgram,
  parseObject,
  relocate,
  resolveExterns,
} from "../../src/object/index.ts";
import { type AttachType, MAP_TYPES, type MapType, type ProgramType } from "../../src/uapi/index.ts";

/** One program, linked and fitted to the running kernel's types. */
export interface Subject {
  readonly file: string;
  readonly name: string;
  readonly section: string;
  readonly type: ProgramType;
  readonly attachType: AttachType | undefined;
  readonly license: string;
  /** Bits of PROGRAM_FLAGS. */
  readonly flags: number;
  readonly linked: LinkedProgram;
  readonly spec: ObjectSpec;
  /** Tells it from all others: the key of what the kernel said. */
  readonly key: string;
}

/** A program that never came as far as a verifier. */
export interface Unlinkable {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
}

const VMLINUX = "/sys/kernel/btf/vmlinux";
let target: CoreTarget | undefined;

function kernelTypes(): CoreTarget | undefined {
  if (target === undefined && existsSync(VMLINUX)) {
    target = { target: parseBtf(readFileSync(VMLINUX), { name: "vmlinux" }) };
  }
  return target;
}

function kernelConfiguration(): string {
  return existsSync("/proc/config.gz") ? gunzipSync(readFileSync("/proc/config.gz")).toString() : "";
}

const FLAG_NAMES: Readonly<Record<string, number>> = {
  BPF_F_STRICT_ALIGNMENT: 1,
  BPF_F_ANY_ALIGNMENT: 2,
  BPF_F_TEST_RND_HI32: 4,
  BPF_F_TEST_STATE_FREQ: 8,
  BPF_F_SLEEPABLE: 16,
  BPF_F_XDP_HAS_FRAGS: 32,
  BPF_F_TEST_REG_INVARIANTS: 128,
};

/** All programs of a file: an object, or a list of instruction arrays as JSON ({@link ArrayFile}). */
let symbols: ReadonlyMap<string, bigint> | undefined;

/** What our side knows of the running kernel. */
export function surroundings(): {
  readonly kernelBtf: Btf | undefined;
  readonly symbols: ReadonlyMap<string, bigint> | undefined;
} {
  if (symbols === undefined && existsSync("/proc/kallsyms")) {
    const text = readFileSync("/proc/kallsyms", "latin1");
    symbols = new Map(
      Array.from(text.matchAll(/^([0-9a-f]+) \S (\S+)$/gm), ([, address, name]) => [
        name ?? "",
        BigInt(`0x${address ?? "0"}`),
      ]),
    );
  }
  return { kernelBtf: kernelTypes()?.target, symbols };
}

export function subjectsOf(path: string): readonly (Subject | Unlinkable)[] {
  const bytes = readFileSync(path);
  const file = basename(path);
  if (path.endsWith(".json")) return arraySubjects(file, JSON.parse(bytes.toString()) as ArrayFile);
  const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 24);
  let spec: ObjectSpec;
  try {
    spec = resolveExterns(parseObject(bytes, { name: file }), { kconfig: kernelConfiguration() });
  } catch (error) {
    return [{ file, name: "*", reason: (error as Error).message }];
  }
  return Object.keys(spec.programs).map((name) => objectSubject(file, spec, name, digest));
}

function objectSubject(file: string, spec: ObjectSpec, name: string, digest: string): Subject | Unlinkable {
  try {
    const bare = linkProgram(spec, name, { externs: "keep" });
    const types = kernelTypes();
    const linked = types === undefined ? bare : relocate(bare, types);
    const program = linked.program;
    if (program?.type === undefined)
      return { file, name, reason: `section ${program?.section} names no program type` };
    const { sleepable, frags } = program.flags;
    return {
      file,
      name,
      section: program.section,
      type: program.type,
      attachType: program.attachType as AttachType | undefined,
      license: program.license,
      flags: taggedFlags(linked) | (sleepable ? 16 : 0) | (frags ? 32 : 0),
      linked,
      spec,
      key: `${digest}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`,
    };
  } catch (error) {
    return { file, name, reason: (error as Error).message };
  }
}

/** The flags that the kernel's own tests want to be loaded with stand in declaration tags of the program's function. */
function taggedFlags({ btf, functionInfo }: LinkedProgram): number {
  const own = functionInfo[0]?.type;
  if (btf === undefined || own === undefined) return 0;
  let flags = 0;
  for (let id = btf.firstId; id < btf.count; id++) {
    const type = btf.type(id);
    if (type.kind !== "decl_tag" || type.type !== own) continue;
    const text = /^comment:(?:\d+:)?test_prog_flags=(.*)$/.exec(type.name)?.[1];
    if (text === undefined) continue;
    const clear = text.startsWith("!");
    const bits = FLAG_NAMES[text.replace("!", "")] ?? Number(text);
    if (!clear && Number.isInteger(bits)) flags |= bits;
  }
  return flags;
}

/** Instruction arrays with the maps that they refer to, as a small program dumps them from C sources. */
interface ArrayFile {
  readonly maps: Readonly<
    Record<
      string,
      {
        readonly type: MapType;
        readonly keySize: number;
        readonly valueSize: number;
        readonly maxEntries: number;
        readonly flags?: number;
        readonly inner?: string;
        /** Hex bytes of the only element. */
        readonly contents?: string;
      }
    >
  >;
  readonly programs: readonly {
    readonly name: string;
    readonly type: ProgramType;
    readonly attachType?: AttachType;
    readonly flags?: number;
    readonly license?: string;
    /** Hex bytes, little-endian. */
    readonly instructions: string;
    /** Slot of the `lddw`, name of the map. */
    readonly maps: readonly (readonly [number, string])[];
  }[];
}

function arraySubjects(file: string, { maps, programs }: ArrayFile): Subject[] {
  const specs = new Map<string, MapSpec>();
  const mapOf = (name: string): MapSpec => {
    const known = specs.get(name);
    if (known !== undefined) return known;
    const row = maps[name];
    if (row === undefined) throw new Error(`${file}: no map ${name}`);
    const contents =
      row.contents === undefined ? undefined : Uint8Array.from(Buffer.from(row.contents, "hex"));
    const made: MapSpec = {
      name,
      section: ".maps",
      type: row.type,
      typeId: MAP_TYPES.find((type) => type.name === row.type)?.id ?? 0,
      keySize: row.keySize,
      valueSize: row.valueSize,
      maxEntries: row.maxEntries,
      flags: row.flags ?? 0,
      extra: 0n,
      numaNode: undefined,
      pinning: 0,
      key: undefined,
      value: undefined,
      innerMap: row.inner === undefined ? undefined : mapOf(row.inner),
      values: [],
      contents,
      frozen: contents !== undefined,
      iproute2: undefined,
    };
    specs.set(name, made);
    return made;
  };
  const all: Record<string, MapSpec> = Object.fromEntries(
    Object.keys(maps).map((name) => [name, mapOf(name)]),
  );
  const spec = {
    name: file,
    littleEndian: true,
    programs: {},
    maps: all,
    functions: [],
    externs: {},
    variables: {},
    warnings: [],
    btf: undefined,
  } as unknown as ObjectSpec;
  return programs.map((row) => {
    const instructions = decodeInstructions(Uint8Array.from(Buffer.from(row.instructions, "hex")));
    const references = new Map(
      row.maps.map(([slot, name]) => {
        const map = mapOf(name);
        const direct = instructions[slot]?.src === 2;
        return [
          slot,
          direct
            ? { kind: "map_value" as const, map, offset: instructions[slot + 1]?.imm ?? 0 }
            : { kind: "map" as const, map },
        ];
      }),
    );
    const linked: LinkedProgram = {
      name: row.name,
      program: undefined,
      object: spec,
      instructions,
      references,
      functions: [],
      lines: [],
      functionInfo: [],
      coreRelocations: [],
      relocated: true,
      poisoned: new Map(),
      btf: undefined,
    };
    return {
      file,
      name: row.name,
      section: row.type,
      type: row.type,
      attachType: row.attachType,
      license: row.license ?? "GPL",
      flags: row.flags ?? 0,
      linked,
      spec,
      key: `a-${createHash("sha256")
        .update(JSON.stringify([row, maps]))
        .digest("hex")
        .slice(0, 40)}`,
    };
  });
}
