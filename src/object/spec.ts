import type { Btf, BtfValue, CoreRelocation, LineInfo } from "../btf/index.ts";
import type { Instruction } from "../isa/index.ts";
import type { AttachType, MapType, ProgramType } from "../uapi/index.ts";
import type { LaterAttachType } from "./sections.ts";

/**
 * What an object file holds, as data. Nothing here is alive: a machine or the kernel makes programs and maps of it. All of
 * it is read-only, but for the initial values of variables ({@link VariableSpec.set}).
 */
export interface ObjectSpec {
  /** As given to parseObject; it begins the messages. */
  readonly name: string;
  readonly littleEndian: boolean;
  /** The `license` section; "" if there is none. */
  readonly license: string;
  /** The `version` section (KERNEL_VERSION of the kernel it was written for); 0 if there is none. */
  readonly kernelVersion: number;
  /** Entry points, by name. */
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  /** By name; the maps behind global variables are named as their sections: ".rodata". */
  readonly maps: Readonly<Record<string, MapSpec>>;
  /** Global and static variables, by name; static ones only if no other variable has their name. */
  readonly variables: Readonly<Record<string, VariableSpec>>;
  /** All functions, entry points included; references between them are indices into this list. */
  readonly functions: readonly FunctionSpec[];
  /** What the object uses and does not define, by name. */
  readonly externs: Readonly<Record<string, ExternSpec>>;
  readonly btf: Btf | undefined;
  /** What was left out of the object although it could matter, in sentences. */
  readonly warnings: readonly string[];
}

/** An entry point. */
export interface ProgramSpec {
  readonly name: string;
  /** Its section, without the question mark that switches autoload off. */
  readonly section: string;
  /** By the section's name; undefined if that names no type. */
  readonly type: ProgramType | undefined;
  /** expected_attach_type; undefined where the kernel wants 0. */
  readonly attachType: AttachType | LaterAttachType | undefined;
  /** What the section's name attaches to: "do_unlinkat" of "kprobe/do_unlinkat". */
  readonly attachTo: string | undefined;
  readonly flags: ProgramFlags;
  readonly license: string;
  readonly kernelVersion: number;
  /** Its instructions, references, source lines: an element of {@link ObjectSpec.functions}. */
  readonly function: FunctionSpec;
  /** The same as `function.instructions`: this function alone, without those that it calls. */
  readonly instructions: readonly Instruction[];
}

/** What a section's name says besides the type. */
export interface ProgramFlags {
  /** False for a section name that begins with "?". */
  readonly autoload: boolean;
  readonly sleepable: boolean;
  /** XDP with packets in several buffers. */
  readonly frags: boolean;
  /** It attaches to a kernel function through BTF. */
  readonly attachBtf: boolean;
}

/** A function, as it stands in the file: nothing is relocated in its instructions. */
export interface FunctionSpec {
  /** Index in {@link ObjectSpec.functions}. */
  readonly index: number;
  readonly name: string;
  readonly section: string;
  /** Index of its first slot in the section. */
  readonly start: number;
  /** Hidden: global for the linker, but verified with its callers, as libbpf has the kernel do it (`__hidden`). */
  readonly linkage: "static" | "global" | "weak" | "hidden";
  /** By slot; an `lddw` takes two. */
  readonly instructions: readonly Instruction[];
  /** What its instructions refer to, by ascending slot. */
  readonly references: readonly Reference[];
  /** Id of its BTF func. */
  readonly type: number | undefined;
  /** Slots count from this function's start. */
  readonly lines: readonly LineInfo[];
  /** Recorded, not applied. Slots count from this function's start. */
  readonly coreRelocations: readonly CoreRelocation[];
}

/** What an instruction refers to; `slot` counts from the function's start. */
export type Reference =
  | { readonly slot: number; readonly kind: "map"; readonly map: string }
  /** An address inside the only value of a map. */
  | { readonly slot: number; readonly kind: "map_value"; readonly map: string; readonly offset: number }
  /** A call of, or the address of, `functions[function]`. */
  | { readonly slot: number; readonly kind: "call" | "function"; readonly function: number }
  | { readonly slot: number; readonly kind: "extern"; readonly extern: string };

/** A name that the object uses and somebody else defines. */
export interface ExternSpec {
  readonly name: string;
  /**
   * `kconfig`: a kernel configuration value; `ksym`: the address of a kernel variable; `kfunc`: a kernel function; `unknown`:
   * the object does not say, so another object should have defined it.
   */
  readonly kind: "kconfig" | "ksym" | "kfunc" | "unknown";
  /** It may be missing: its address is then 0. */
  readonly weak: boolean;
  /** Id of its BTF var or func. */
  readonly type: number | undefined;
}

/** A map that is to be created. */
export interface MapSpec {
  readonly name: string;
  /** The section that defines it. */
  readonly section: string;
  /** "unknown" if Linux 6.18 has no type of this number. */
  readonly type: MapType | "unknown";
  readonly typeId: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_... bits of map creation. */
  readonly flags: number;
  readonly extra: bigint;
  readonly numaNode: number | undefined;
  /** 0: not pinned, 1: by its name (LIBBPF_PIN_BY_NAME); others as they are found, they mean nothing to libbpf. */
  readonly pinning: number;
  /** BTF id of the key's type. */
  readonly key: number | undefined;
  /** BTF id of the value's type; of the maps behind variables a datasec. */
  readonly value: number | undefined;
  /** What a map of maps holds. */
  readonly innerMap: MapSpec | undefined;
  /** Entries that are set before the programs run. */
  readonly values: readonly MapInitializer[];
  /**
   * Of maps behind variables, struct_ops and arenas: the initial bytes of the only value, `valueSize` of them; undefined for
   * other maps. They are what {@link VariableSpec.set} changes; treat them as read-only.
   */
  readonly contents: Uint8Array | undefined;
  /** Programs and the host may only read it once it is filled. */
  readonly frozen: boolean;
  /** What `tc` of iproute2 adds to a definition. */
  readonly iproute2: Iproute2Map | undefined;
}

/** The further fields of iproute2's `struct bpf_elf_map`. */
export interface Iproute2Map {
  readonly id: number;
  /** 0: none, 1: in the object's namespace, 2: global. */
  readonly pinning: number;
  /** `id` of the map that this one holds. */
  readonly innerId: number;
  /** The key under which this map is put into the maps that hold its `id`. */
  readonly innerIndex: number;
}

/** An entry of a program array or a map of maps; of struct_ops a member that is a program. */
export interface MapInitializer {
  /** The key; of struct_ops the member's offset in bytes. */
  readonly index: number;
  readonly kind: "map" | "program";
  readonly name: string;
}

/** A variable of the program, in a map behind `.data`, `.rodata` or `.bss`. */
export interface VariableSpec {
  readonly name: string;
  readonly section: string;
  /** Name of the map that holds it: the section's name. */
  readonly map: string;
  /** In bytes, in the map's value. */
  readonly offset: number;
  readonly size: number;
  /** BTF id of its type (of what a BTF var refers to). */
  readonly type: number | undefined;
  /** Programs can't change it; the verifier may count on its value. */
  readonly constant: boolean;
  readonly linkage: "static" | "global" | "weak" | "hidden";
  /** Its initial value, by its BTF type; the raw bytes (a copy) if there is none. */
  get(): BtfValue;
  /**
   * Changes its initial value, for every machine that loads this spec afterwards: the one thing in a spec that can be
   * changed. Takes what {@link encodeValue} takes, and always the raw bytes.
   *
   * @throws BpfError code "btf" if the value does not fit the type, "usage" if the bytes do not fit the size.
   */
  set(value: BtfValue): void;
  /** Its initial bytes (a copy). */
  bytes(): Uint8Array;
}
