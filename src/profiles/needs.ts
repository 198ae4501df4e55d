/** What a program needs of a kernel, each with the release that brought it and the place that needs it. */
import type { Btf } from "../btf/index.ts";
import { type Place, placeOf } from "../explain/index.ts";
import { type Instruction, isWide, rowOf } from "../isa/index.ts";
import type { LinkedProgram, MapSpec } from "../object/index.ts";
import { MAP_FLAGS, type MapFlag, type ProgramType, helperName } from "../uapi/index.ts";
import type { VerifierProgram } from "../verifier/index.ts";
import { accessSince } from "./access.ts";
import { FEATURES, type FeatureId } from "./features.ts";
import { hasSince } from "./kernels.ts";
import {
  ATTACH_TYPE_VERSIONS,
  HELPER_VERSIONS,
  KFUNC_VERSIONS,
  MAP_FLAG_VERSIONS,
  MAP_TYPE_VERSIONS,
  PROGRAM_TYPE_VERSIONS,
  type VersionRow,
} from "./versions.ts";

export type NeedKind =
  | "program type"
  | "attach type"
  | "map type"
  | "map flag"
  | "helper"
  | "kernel function"
  | "instruction"
  | "feature"
  | "verifier";

export interface Need {
  readonly kind: NeedKind;
  readonly name: string;
  /** "5.18": the first release that has it. */
  readonly since: string;
  /** The commit in mainline; "" for instructions, whose table names the release alone. */
  readonly commit: string;
  /**
   * Older kernels than this do not need it: the program asks for weak functions before it calls them (bpf_ksym_exists), and goes another
   * way where they are missing.
   */
  readonly from?: string;
  /** Of what the verifier must be able to do: what one that can't says. */
  readonly complaint?: string;
  /** A later release of a stable series that has it too: "5.15.163". */
  readonly stable?: string;
  /** The first release that no longer has it. */
  readonly until?: string;
  /** The first place that needs it; undefined if it is the program as a whole. */
  readonly place: Place | undefined;
  /** The map that needs it. */
  readonly map: string | undefined;
}

/** When a name came, by name. */
export interface Since {
  readonly since: string;
  readonly commit: string;
  readonly until?: string;
}

function index(rows: readonly VersionRow[]): ReadonlyMap<string, Since> {
  const found = new Map<string, Since>();
  for (const { names, ...since } of rows) for (const name of names.split(" ")) found.set(name, since);
  return found;
}

const SINCE: Readonly<
  Record<Exclude<NeedKind, "instruction" | "feature" | "verifier">, ReadonlyMap<string, Since>>
> = {
  "program type": index(PROGRAM_TYPE_VERSIONS),
  "attach type": index(ATTACH_TYPE_VERSIONS),
  "map type": index(MAP_TYPE_VERSIONS),
  "map flag": index(MAP_FLAG_VERSIONS),
  helper: index(HELPER_VERSIONS),
  "kernel function": index(KFUNC_VERSIONS),
};

/**
 * Since when Linux has a helper, kernel function, map type, ...; undefined if there is none of this name.
 *
 * @example
 * sinceOf("helper", "loop")?.since; // "5.17"
 */
export function sinceOf(kind: keyof typeof SINCE, name: string): Since | undefined {
  return SINCE[kind].get(name);
}

/** Collects needs: each name once, at the first place. */
class Needs {
  readonly found: Map<string, Need> = new Map();

  add(kind: NeedKind, name: string, since: Since | undefined, place?: Place, map?: string): void {
    if (since === undefined || this.found.has(`${kind} ${name}`)) return;
    this.found.set(`${kind} ${name}`, { kind, name, ...since, place, map });
  }

  named(kind: keyof typeof SINCE, name: string, place?: Place, map?: string): void {
    this.add(kind, name, sinceOf(kind, name), place, map);
  }

  /** A function that the program's type calls: some types may since later than others. */
  call(
    kind: "helper" | "kernel function",
    name: string,
    type: ProgramType,
    place: Place,
    from?: string,
  ): void {
    const since = sinceOf(kind, name);
    const access = accessSince(kind, type, name);
    const guard = from === undefined ? {} : { from };
    if (since === undefined || access === undefined || hasSince(since.since, access.since)) {
      return this.add(kind, name, since === undefined ? since : { ...since, ...guard }, place);
    }
    const { since: later, commit } = access;
    this.add(kind, `${name} in ${type} programs`, { ...since, ...guard, since: later, commit }, place);
  }

  feature(id: FeatureId, place?: Place, map?: string): void {
    const row = FEATURES.find((one) => one.id === id);
    if (row !== undefined) this.add("feature", row.title, row, place, map);
  }
}

const PSEUDO_CALL = 1;
const PSEUDO_KFUNC_CALL = 2;
const PSEUDO_FUNC = 4;
const CALL = 0x85;

/**
 * What a program needs: its type, its maps, its instructions, what it calls. `reached` leaves out calls of helpers that no path
 * reaches (the kernel looks at those only that it walks): pass the slots that a verification visited.
 */
export function needsOf(
  linked: LinkedProgram,
  input: VerifierProgram,
  reached?: ReadonlySet<number>,
): Need[] {
  const needs = new Needs();
  needs.named("program type", input.type);
  // Loaders leave this one out where the kernel does not know it.
  if (input.attachType !== undefined && input.attachType !== "xdp")
    needs.named("attach type", input.attachType);
  programNeeds(needs, linked, input);
  for (const map of mapsOf(linked)) {
    mapNeeds(needs, map, linked.btf);
    ruleNeeds(needs, map, linked.btf, input);
  }
  instructionNeeds(needs, linked, input, reached);
  return [...needs.found.values()];
}

function mapsOf({ references }: LinkedProgram): Set<MapSpec> {
  const maps = new Set<MapSpec>();
  for (const reference of references.values()) if (reference.kind !== "extern") maps.add(reference.map);
  return maps;
}

/** What the section and the functions ask for. */
function programNeeds(
  needs: Needs,
  { functions, btf, object, program, instructions }: LinkedProgram,
  input: VerifierProgram,
): void {
  const { sleepable = false, frags = false, type } = input;
  if (frags) needs.feature("xdp_frags");
  if (sleepable && type !== "syscall") needs.feature(SLEEPERS[type] ?? "sleepable");
  if (instructions.length > 4096) needs.feature("million_instructions");
  if (functions.length > 1) needs.feature("bpf_to_bpf_calls", placeOf(input, functions[1]?.start ?? 0));
  const calls = functions.length > 1;
  for (const [slot, { opcode, src, imm }] of instructions.entries()) {
    if (calls && opcode === CALL && src === 0 && imm === TAIL_CALL)
      needs.feature("tail_calls_in_functions", placeOf(input, slot));
  }
  for (const { spec, start } of functions.slice(1)) {
    if (spec.linkage === "static" || spec.linkage === "hidden") continue;
    needs.feature("global_functions", placeOf(input, start));
    if (spec.type === undefined || btf === undefined) continue;
    for (const tag of tagsOf(btf, spec.type)) {
      const feature = ARGUMENT_TAGS[tag];
      if (feature !== undefined) needs.feature(feature, placeOf(input, start));
    }
  }
  if (type === "struct_ops" && program !== undefined) structOpsNeeds(needs, program.name, object, btf);
}

const SLEEPERS: Partial<Record<ProgramType, FeatureId>> = {
  kprobe: "sleepable_uprobe",
  struct_ops: "sleepable_struct_ops",
};

const TAIL_CALL = 12;

const ARGUMENT_TAGS: Readonly<Record<string, FeatureId>> = {
  "arg:ctx": "argument_tags",
  "arg:nonnull": "argument_tags",
  "arg:nullable": "trusted_arguments",
  "arg:trusted": "trusted_arguments",
  "arg:untrusted": "untrusted_arguments",
  "arg:arena": "arena_arguments",
};

/** Declaration tags of a function and its arguments. */
function tagsOf(btf: Btf, id: number): string[] {
  const tags: string[] = [];
  for (const type of btf.types()) if (type.kind === "decl_tag" && type.type === id) tags.push(type.name);
  return tags;
}

const STRUCT_OPS: Readonly<Record<string, FeatureId>> = {
  sched_ext_ops: "sched_ext",
  hid_bpf_ops: "hid_struct_ops",
  Qdisc_ops: "qdisc",
};

/** Which of the kernel's structures the program is a method of. */
function structOpsNeeds(
  needs: Needs,
  name: string,
  { maps }: LinkedProgram["object"],
  btf: Btf | undefined,
): void {
  for (const map of Object.values(maps)) {
    if (!map.values.some((value) => value.kind === "program" && value.name === name)) continue;
    if (map.section.startsWith(".struct_ops.link")) needs.feature("struct_ops_link", undefined, map.name);
    if (btf === undefined || map.value === undefined) continue;
    for (const struct of namesIn(btf, map.value)) {
      const feature = STRUCT_OPS[struct];
      if (feature !== undefined) needs.feature(feature, undefined, map.name);
    }
  }
}

/** Types in map values that are features. */
const VALUE_TYPES: Readonly<Record<string, FeatureId>> = {
  bpf_spin_lock: "spin_lock",
  bpf_timer: "timer",
  bpf_wq: "workqueue",
  bpf_list_head: "list",
  bpf_rb_root: "rbtree",
  bpf_refcount: "refcount",
  bpf_res_spin_lock: "res_spin_lock",
  bpf_task_work: "task_work",
  kptr: "kptr",
  kptr_untrusted: "kptr",
  percpu_kptr: "percpu_kptr",
  uptr: "uptr",
};

function mapNeeds(needs: Needs, map: MapSpec, btf: Btf | undefined): void {
  if (map.type !== "unknown") needs.named("map type", map.type, undefined, map.name);
  for (const flag of Object.keys(MAP_FLAGS) as MapFlag[]) {
    if ((map.flags & MAP_FLAGS[flag]) !== 0) needs.named("map flag", flag, undefined, map.name);
  }
  if (btf !== undefined && map.value !== undefined && map.value !== 0) {
    for (const name of namesIn(btf, map.value)) {
      const feature = VALUE_TYPES[name];
      if (feature !== undefined) needs.feature(feature, undefined, map.name);
    }
  }
  if (map.innerMap !== undefined) mapNeeds(needs, map.innerMap, btf);
}

const STORAGES: ReadonlySet<string> = new Set(["inode_storage", "sk_storage", "task_storage"]);
const HASHES: ReadonlySet<string> = new Set(["hash", "percpu_hash", "lru_hash", "lru_percpu_hash"]);

/** What a program's type could not do with a map before (check_map_prog_compatibility). */
function ruleNeeds(
  needs: Needs,
  map: MapSpec,
  btf: Btf | undefined,
  { type, sleepable = type === "syscall" }: VerifierProgram,
): void {
  const allocated =
    (HASHES.has(map.type) && (map.flags & MAP_FLAGS.no_prealloc) !== 0) ||
    (map.innerMap !== undefined && (map.innerMap.flags & MAP_FLAGS.no_prealloc) !== 0);
  if (type === "perf_event" && allocated) needs.feature("perf_event_allocated", undefined, map.name);
  if (!sleepable) return;
  if (allocated) needs.feature("sleepable_allocated", undefined, map.name);
  if (STORAGES.has(map.type)) needs.feature("sleepable_storage", undefined, map.name);
  if (btf === undefined || map.value === undefined || map.value === 0) return;
  if (namesIn(btf, map.value).has("bpf_spin_lock")) needs.feature("sleepable_lock", undefined, map.name);
}

/** Names of structures that lie in a type, and of tags of pointers in it. */
function namesIn(btf: Btf, id: number, names: Set<string> = new Set(), depth = 0): Set<string> {
  if (depth > 8) return names;
  const type = btf.type(id);
  switch (type.kind) {
    case "struct":
    case "union":
      names.add(type.name);
      for (const member of type.members) namesIn(btf, member.type, names, depth + 1);
      break;
    case "typedef":
    case "const":
    case "volatile":
    case "restrict":
    case "type_tag":
    case "array":
    case "var":
      namesIn(btf, type.type, names, depth + 1);
      break;
    case "datasec":
      for (const variable of type.variables) namesIn(btf, variable.type, names, depth + 1);
      break;
    case "ptr": {
      const target = type.type === 0 ? undefined : btf.type(type.type);
      if (target?.kind === "type_tag") names.add(target.name);
      break;
    }
    default:
  }
  return names;
}

function instructionNeeds(
  needs: Needs,
  { instructions, references }: LinkedProgram,
  input: VerifierProgram,
  reached: ReadonlySet<number> | undefined,
): void {
  const asked = new Set<string>();
  for (const [slot, reference] of references) {
    if (reference.kind === "extern" && instructions[slot]?.opcode !== CALL)
      asked.add(bare(reference.extern.name));
  }
  const guard = latestOf(asked);
  for (let slot = 0; slot < instructions.length; slot++) {
    const instruction = instructions[slot] as Instruction;
    const { opcode, src, imm } = instruction;
    const place = (): Place => placeOf(input, slot);
    const row = rowOf(instruction);
    if (row !== undefined && row.since !== "none") {
      needs.add("instruction", row.name, { since: row.since, commit: "" }, place());
    }
    const target = jumpTarget(instruction, slot);
    if (target !== undefined && target <= slot) needs.feature("bounded_loops", place());
    if (opcode === CALL && src === 0 && (reached === undefined || reached.has(slot))) {
      const helper = helperName(imm);
      if (helper !== undefined) needs.call("helper", helper, input.type, place());
    }
    const reference = references.get(slot);
    if (
      opcode === CALL &&
      (src === PSEUDO_KFUNC_CALL || (src !== PSEUDO_CALL && reference?.kind === "extern"))
    ) {
      needs.feature("kernel_functions", place());
      // Loaders leave a weak one that is missing as it is, and the kernel minds only if a path comes to it.
      const dead = reached !== undefined && !reached.has(slot);
      if (reference?.kind === "extern" && !(reference.extern.weak && dead)) {
        const name = bare(reference.extern.name);
        const own = asked.has(name) ? sinceOf("kernel function", name)?.since : guard;
        needs.call("kernel function", name, input.type, place(), reference.extern.weak ? own : undefined);
      }
    }
    if (isWide(instruction)) {
      if (src === PSEUDO_FUNC) needs.feature("callbacks", place());
      slot++;
    }
  }
}

/** Without the suffix that tells apart declarations of one function: "bpf_task_release___new". */
function bare(name: string): string {
  return name.replace(/___.*$/, "");
}

/** Since when all of these functions exist; undefined if none is asked for. */
function latestOf(names: ReadonlySet<string>): string | undefined {
  let found: string | undefined;
  for (const name of names) {
    const since = sinceOf("kernel function", name)?.since;
    if (since !== undefined && (found === undefined || hasSince(since, found))) found = since;
  }
  return found;
}

/** Where a jump goes; undefined for what is none. */
function jumpTarget({ opcode, offset, imm }: Instruction, slot: number): number | undefined {
  const cls = opcode & 7;
  const operation = opcode & 0xf0;
  if ((cls !== 5 && cls !== 6) || operation === 0x80 || operation === 0x90) return undefined;
  return slot + 1 + (opcode === 0x06 ? imm : offset);
}
