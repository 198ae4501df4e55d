import { BpfError } from "../errors.ts";
import { HELPERS, MAP_TYPES, type MapType, PROGRAM_TYPES, type ProgramType } from "../uapi/index.ts";
import { loadBtf } from "./btf.ts";
import { op } from "./build.ts";
import { explainErrno, nameOfErrno } from "./errno.ts";
import { Handle, Kernel } from "./kernel.ts";
import { reasonOf } from "../verifier/index.ts";
import { createMap } from "./map.ts";
import {
  BTF_PROBES,
  BTF_PROBE_STRINGS,
  type FeatureProbe,
  INSTRUCTION_PROBES,
  MAP_FEATURE_PROBES,
  MAP_PROBES,
  type MapProbe,
  PROGRAM_PROBES,
} from "./probe-tables.ts";
import { KernelProgram, attemptLoad } from "./program.ts";
import { LITTLE_ENDIAN } from "./struct.ts";
import { type SystemReport, readSystem } from "./system.ts";

/** One thing that a kernel has or lacks. */
export interface Feature {
  readonly name: string;
  readonly title: string;
  readonly supported: boolean;
  /** Why not: the kernel's error, and the configuration option that is off. */
  readonly reason?: string;
  readonly errno?: string;
  /** Of program types: whether BPF_PROG_TEST_RUN takes them. */
  readonly testRun?: boolean;
}

/** Features that belong together, for a table of their own. */
export interface FeatureGroup {
  readonly name: "program_types" | "map_types" | "instructions" | "btf" | "maps" | "helpers";
  readonly title: string;
  readonly features: readonly Feature[];
}

export interface KernelProbe {
  /** Whether this process can load programs. */
  readonly available: boolean;
  /** One sentence when it cannot. */
  readonly reason?: string;
  readonly system: SystemReport;
  /** Empty when nothing could be asked. */
  readonly groups: readonly FeatureGroup[];
}

export interface ProbeOptions {
  /** Program types whose helpers are asked for too, each about 200 tiny loads. Default none. */
  readonly helpers?: readonly ProgramType[];
}

/**
 * What this kernel can do and what this process may do, found out by trying: tiny programs and maps are made and let
 * go at once. Nothing is thrown for a lack of privilege, kernel or koffi; `reason` says what is missing.
 *
 * @example
 * const { available, reason, groups } = await probeKernel();
 */
export async function probeKernel({ helpers = [] }: ProbeOptions = {}): Promise<KernelProbe> {
  const system = readSystem();
  let kernel: Kernel;
  try {
    kernel = await Kernel.open();
  } catch (error) {
    return { available: false, reason: (error as BpfError).message, system, groups: [] };
  }
  using probing = kernel;
  const reason = whyUnavailable(probing, system);
  if (reason !== undefined) return { available: false, reason, system, groups: [] };
  return {
    available: true,
    system,
    groups: [
      {
        name: "program_types",
        title: "Program types",
        features: PROGRAM_TYPES.map(({ name }) => probeProgramType(probing, name, system)),
      },
      {
        name: "map_types",
        title: "Map types",
        features: MAP_TYPES.map(({ name }) => probeMapType(probing, name, system)),
      },
      {
        name: "instructions",
        title: "Instructions",
        features: INSTRUCTION_PROBES.map((row) => probeInstructions(probing, row)),
      },
      { name: "btf", title: "BTF", features: BTF_PROBES.map((row) => probeBtf(probing, row)) },
      {
        name: "maps",
        title: "Map features",
        features: MAP_FEATURE_PROBES.map((row) => probeMapFeature(probing, row)),
      },
      ...helpers.map(
        (type): FeatureGroup => ({
          name: "helpers",
          title: `Helpers of ${type}`,
          features: probeHelpers(probing, type),
        }),
      ),
    ],
  };
}

const BARE = [op("mov64_imm", { dst: 0, imm: 0 }), op("exit")];

/** Why not even the plainest program and map can be made, or undefined. */
function whyUnavailable(kernel: Kernel, { root, capabilities }: SystemReport): string | undefined {
  const { result, log } = attemptLoad(kernel, { type: "socket_filter", instructions: BARE }, 1);
  if (result >= 0) {
    new Handle(kernel, result).close();
    return undefined;
  }
  const missing = Object.keys(capabilities).filter((name) => capabilities[name] === false);
  const who = root ? "though it runs as root" : missing.length > 0 ? `without ${missing.join(", ")}` : "";
  return `kernel: this process may not load programs ${who}: ${log === "" ? explainErrno(result) : reasonOf(log)}`
    .replace(/ {2,}/g, " ")
    .replace(" :", ":");
}

/** Loads a bare program of the type, and test-runs it if it loads. */
export function probeProgramType(kernel: Kernel, type: ProgramType, system?: SystemReport): Feature {
  const { attach, flags, attachBtfId, errno, complaint, config } = PROGRAM_PROBES[type] ?? {};
  const { result, log } = attemptLoad(
    kernel,
    {
      type,
      instructions: BARE,
      ...(attach === undefined ? {} : { expectedAttachType: attach }),
      ...(flags === undefined ? {} : { flags }),
      ...(attachBtfId === undefined ? {} : { attachBtfId }),
    },
    1,
  );
  if (result >= 0) {
    using program = new KernelProgram(kernel, result, { type }, "");
    return { name: type, title: type, supported: true, testRun: canTestRun(program) };
  }
  if (nameOfErrno(result) === errno || complaint?.test(log) === true) {
    return { name: type, title: type, supported: true, testRun: false };
  }
  return unsupported(type, type, result, log, config, system);
}

function canTestRun(program: KernelProgram): boolean {
  // Each type wants other input; ENOTSUPP is the answer of a type that cannot be run at all.
  const { result } = program.kernel.call("prog_test_run", { prog_fd: program.fd });
  return !["ENOTSUPP", "EOPNOTSUPP"].includes(nameOfErrno(result));
}

/** Creates the smallest map of the type. */
export function probeMapType(kernel: Kernel, type: MapType, system?: SystemReport): Feature {
  const probe = MAP_PROBES[type] ?? {};
  const result = tryMap(kernel, type, probe);
  if (result >= 0 || nameOfErrno(result) === probe.errno) return { name: type, title: type, supported: true };
  return unsupported(type, type, result, "", probe.config, system);
}

function probeMapFeature(kernel: Kernel, { name, title, map }: FeatureProbe): Feature {
  const result = map === undefined ? 0 : tryMap(kernel, map.type, map);
  return result >= 0 ? { name, title, supported: true } : unsupported(name, title, result, "");
}

/** MAP_CREATE without exceptions; what it made is closed. */
function tryMap(kernel: Kernel, type: MapType, probe: MapProbe): number {
  const { keySize = 4, valueSize = 4, maxEntries = 1, flags = 0 } = probe;
  using btf = probe.btf === true ? loadBtf(kernel, probeBtfBytes([])) : undefined;
  using inner =
    probe.inner === true
      ? createMap(kernel, { type: "hash", keySize: 4, valueSize: 4, maxEntries: 1 })
      : undefined;
  const { result } = kernel.call("map_create", {
    map_type: MAP_TYPES.find((row) => row.name === type)?.id,
    key_size: keySize,
    value_size: valueSize,
    max_entries: maxEntries,
    map_flags: flags,
    inner_map_fd: inner?.fd,
    btf_fd: btf?.fd,
    btf_key_type_id: btf && 1,
    btf_value_type_id: btf && 1,
    btf_vmlinux_value_type_id: type === "struct_ops" ? 1 : undefined,
  });
  if (result >= 0) new Handle(kernel, result).close();
  return result;
}

function probeInstructions(
  kernel: Kernel,
  { name, title, program = BARE, type = "socket_filter", complaint }: FeatureProbe,
): Feature {
  const { result, log } = attemptLoad(kernel, { type, instructions: program }, 1);
  if (result >= 0) new Handle(kernel, result).close();
  else if (complaint?.test(log) !== true) return unsupported(name, title, result, log);
  return { name, title, supported: true };
}

function probeBtf(kernel: Kernel, { name, title, btf = [] }: FeatureProbe): Feature {
  try {
    loadBtf(kernel, probeBtfBytes(btf)).close();
    return { name, title, supported: true };
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return {
      name,
      title,
      supported: false,
      reason: error.message,
      ...(error.errno ? { errno: error.errno } : {}),
    };
  }
}

/** BTF with "int" as type 1, and the given types (Documentation/bpf/btf.rst). */
function probeBtfBytes(types: readonly (readonly number[])[]): Uint8Array {
  const words = [[1, 1 << 24, 4, (1 << 24) | 32], ...types].flat();
  const strings = new TextEncoder().encode(BTF_PROBE_STRINGS);
  const header = 24;
  const bytes = new Uint8Array(header + words.length * 4 + strings.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, LITTLE_ENDIAN);
  view.setUint8(2, 1);
  const sizes = [header, 0, words.length * 4, words.length * 4, strings.length];
  sizes.forEach((word, index) => view.setUint32(4 + index * 4, word, LITTLE_ENDIAN));
  words.forEach((word, index) => view.setUint32(header + index * 4, word, LITTLE_ENDIAN));
  bytes.set(strings, header + words.length * 4);
  return bytes;
}

/**
 * Which helpers a program type may call: a program that does nothing but call is rejected either way, and the
 * complaint tells whether it is about the helper or about its arguments.
 */
export function probeHelpers(kernel: Kernel, type: ProgramType): Feature[] {
  const { attach, flags } = PROGRAM_PROBES[type] ?? {};
  return HELPERS.map(({ id, name }) => {
    const { result, log } = attemptLoad(
      kernel,
      {
        type,
        instructions: [op("call_helper", { imm: id }), ...BARE],
        ...(attach === undefined ? {} : { expectedAttachType: attach }),
        ...(flags === undefined ? {} : { flags }),
      },
      1,
    );
    if (result >= 0) {
      new Handle(kernel, result).close();
      return { name, title: `bpf_${name}`, supported: true };
    }
    if (log.includes(`call bpf_${name}#${id}`) && !/cannot use helper|unknown func|invalid func/.test(log)) {
      return { name, title: `bpf_${name}`, supported: true };
    }
    return unsupported(name, `bpf_${name}`, result, log);
  });
}

function unsupported(
  name: string,
  title: string,
  result: number,
  log: string,
  config?: string,
  system?: SystemReport,
): Feature {
  const complaint = reasonOf(log);
  const off =
    config !== undefined && system?.config !== undefined && !system.config.has(config)
      ? `: ${config} is not set`
      : "";
  return {
    name,
    title,
    supported: false,
    errno: nameOfErrno(result),
    reason: (complaint === "" ? nameOfErrno(result) : `${nameOfErrno(result)}: ${complaint}`) + off,
  };
}
