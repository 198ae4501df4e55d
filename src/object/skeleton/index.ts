import { type Btf, resolve } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import type { MapSpec, ObjectSpec } from "../spec.ts";
import { comment, pascal, property, TypeDeclarations } from "./types.ts";

/** What {@link generateSkeleton} is given besides the object. */
export interface SkeletonOptions {
  /** The object's bytes, which become part of the module. */
  readonly bytes: Uint8Array;
  /** Names the interfaces; default the file's name up to the first dot. */
  readonly name?: string;
  /** Further structures to declare and decode, by name: events that go through a ring buffer. */
  readonly types?: readonly string[];
}

/**
 * A TypeScript module that holds an object and knows its programs, maps, variables and event structures by name and type.
 *
 * Structures that a global pointer points to (`const struct event *unused_event;`, the way to keep a type in an object that no
 * map mentions) are taken for events and get a function that decodes them.
 *
 * @throws BpfError code "usage" for a structure that the object does not have.
 * @example
 * writeFileSync("firewall.ts", generateSkeleton(parseObject(bytes, { name: "firewall.bpf.o" }), { bytes }));
 */
export function generateSkeleton(spec: ObjectSpec, { bytes, name, types = [] }: SkeletonOptions): string {
  const base = pascal(name ?? spec.name.replace(/^.*[/\\]/, "").replace(/\..*$/, ""));
  const own = ["Object", "Programs", "Maps", "Variables"].map((suffix) => base + suffix);
  const reserved = [
    "BpfMap",
    "LoadOptions",
    "Machine",
    "MachineOptions",
    "ObjectSpec",
    "Program",
    "TypedMap",
    "Variable",
  ];
  const declarations =
    spec.btf === undefined
      ? undefined
      : new TypeDeclarations(spec.btf, [...own, ...reserved, "Map", "Uint8Array", "ReadonlyArray"]);

  const typeText = (id: number | undefined): string =>
    id === undefined || id === 0 || declarations === undefined ? "Uint8Array" : declarations.of(id);
  const programs = Object.keys(spec.programs).map((program) => `  readonly ${property(program)}: Program;`);
  const visible = Object.values(spec.maps).filter(({ section }) => !isData(section));
  const maps = visible.map(
    (map) => `  readonly ${property(map.name)}: TypedMap<${typeText(map.key)}, ${valueText(map, typeText)}>;`,
  );
  const variables = Object.values(spec.variables).map(
    (variable) => `  readonly ${property(variable.name)}: Variable<${typeText(variable.type)}>;`,
  );
  const events = eventTypes(spec, types).map((id) => ({ id, name: typeText(id) }));

  const parts = [
    `// Made from ${comment(spec.name)} by 'skep gen skeleton'. Changes are lost when it is made again.`,
    ...(events.length === 0 ? [] : ['import { decodeValue } from "skep/btf";']),
    `import type { BpfMap, LoadOptions, Machine${programs.length > 0 ? ", Program" : ""} } from "skep/machine";`,
    'import { type ObjectSpec, type VariableSpec, parseObject } from "skep/object";',
    "",
    "/** A map whose keys and values have types. */",
    'export type TypedMap<K, V> = Omit<BpfMap, "get" | "set" | "entries"> & {',
    "  get(key: K): V | undefined;",
    '  set(key: K, value: V, flag?: "any" | "noexist" | "exist"): void;',
    "  entries(): Generator<[key: K, value: V]>;",
    "};",
    "",
    "/** A global variable; setting it counts for what is loaded afterwards. */",
    'export type Variable<T> = Omit<VariableSpec, "get" | "set"> & { get(): T; set(value: T): void };',
    "",
    declarations?.text() ?? "",
    interfaceText(`${base}Programs`, programs),
    interfaceText(`${base}Maps`, maps),
    interfaceText(`${base}Variables`, variables),
    `/** The object, read: its variables can be set, then it can be loaded. */`,
    `export interface ${base}Object {`,
    "  readonly spec: ObjectSpec;",
    `  readonly variables: ${base}Variables;`,
    "  /** Creates the maps and programs in a machine. */",
    `  load(machine: Machine, options?: LoadOptions): Promise<{ programs: ${base}Programs; maps: ${base}Maps }>;`,
    "}",
    "",
    `/** Reads the object that this module holds; each call gives one with variables of its own. */`,
    `export function open${base}(): ${base}Object {`,
    `  const spec = parseObject(bytes(), { name: ${JSON.stringify(comment(spec.name))} });`,
    "  return {",
    "    spec,",
    `    variables: spec.variables as unknown as ${base}Variables,`,
    "    async load(machine, options) {",
    "      const { programs, maps } = await machine.load(spec, options);",
    `      return { programs: programs as unknown as ${base}Programs, maps: maps as unknown as ${base}Maps };`,
    "    },",
    "  };",
    "}",
    "",
    ...events.flatMap(({ id, name: event }) => [
      `/** A \`${event}\` from its bytes, such as a ring buffer gives them. */`,
      `export function decode${event}({ btf }: ObjectSpec, data: Uint8Array): ${event} {`,
      '  if (btf === undefined) throw new Error("the object has no BTF");',
      `  return decodeValue(btf, ${id}, data) as unknown as ${event};`,
      "}",
      "",
    ]),
    "function bytes(): Uint8Array {",
    "  return Uint8Array.from(atob(DATA), (character) => character.charCodeAt(0));",
    "}",
    "",
    "const DATA =",
    `${base64Lines(bytes)};`,
    "",
  ];
  return parts.join("\n");
}

function isData(section: string): boolean {
  return /^\.(data|rodata|bss|kconfig)(\.|$)/.test(section);
}

/** A per-CPU map has one value for each CPU. */
function valueText(map: MapSpec, typeText: (id: number | undefined) => string): string {
  const text = typeText(map.value);
  return map.type.includes("percpu") ? `ReadonlyArray<${text}>` : text;
}

function interfaceText(name: string, lines: readonly string[]): string {
  return lines.length === 0
    ? `export type ${name} = Readonly<Record<never, never>>;\n`
    : `export interface ${name} {\n${lines.join("\n")}\n}\n`;
}

function eventTypes({ btf, variables, name }: ObjectSpec, wanted: readonly string[]): number[] {
  if (btf === undefined) {
    if (wanted.length > 0)
      throw new BpfError("usage", `${name}: it has no BTF, so there is no structure '${wanted[0]}'`);
    return [];
  }
  const found = new Set<number>();
  for (const { type } of Object.values(variables)) {
    const pointer = type === undefined ? undefined : resolve(btf, type);
    if (pointer?.kind !== "ptr") continue;
    const pointee = resolve(btf, pointer.type);
    if (pointee.kind === "struct" && pointee.name !== "") found.add(pointee.id);
  }
  for (const own of wanted) found.add(structOf(btf, own, name));
  return [...found];
}

function structOf(btf: Btf, name: string, object: string): number {
  const type = btf.find(name, "struct")[0];
  if (type !== undefined) return type.id;
  throw new BpfError("usage", `${object}: it has no structure '${name}'`);
}

const LINE = 96;

function base64Lines(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  const text = btoa(binary);
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += LINE) lines.push(`  "${text.slice(at, at + LINE)}"`);
  return lines.join(" +\n") || '  ""';
}
