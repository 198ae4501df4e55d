import { BpfError } from "../../errors.ts";
import { hookOf, takesPackets } from "../../hooks/index.ts";
import { type Layer, Machine, type Program } from "../../machine/index.ts";
import type { ObjectSpec, ProgramSpec } from "../../object/index.ts";
import { type Command, type Invocation, choice, integer, onlyPositional, text } from "../command.ts";
import { ENGINE_OPTIONS, machineOptions } from "../engine.ts";
import { checkOutput } from "../files.ts";
import { STRICT_OPTION, readObject } from "../object-file.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { fillMaps } from "../map-file.ts";
import { MAP_SIZE_OPTION, mapSizesOf } from "../map-sizes.ts";
import { mapReports } from "../maps.ts";
import { type CaptureResult, runCapture } from "../run/capture.ts";
import { eventInput, extraOf, showEvent } from "../run/event.ts";
import type { KernelShadow } from "../run/kernel.ts";
import { MAX_TRACE, packetsPerSecond, showRun } from "../run/report.ts";
import { TARGET_OPTIONS, targetFiles, targetOf } from "../target.ts";

export const runCommand: Command = {
  name: "run",
  usage: "OBJECT [-p PROGRAM] -r CAPTURE [-w OUT] | OBJECT -p PROGRAM [--args JSON] [--input JSON]",
  description:
    "Runs a program of a BPF object over every packet of a capture (pcap or pcapng, gzip too) and shows what it\n" +
    "answered, what it left in its maps and how fast it was. Program types: xdp, tc, socket filters.",
  options: {
    read: { type: "string", short: "r", value: "FILE", help: "the capture; - is standard input" },
    program: { type: "string", short: "p", value: "NAME", help: "the program, if the object has several" },
    write: {
      type: "string",
      short: "w",
      value: "FILE",
      help: "write packets that pass, as the program left them (.pcapng: as pcapng)",
    },
    args: {
      type: "string",
      value: "JSON",
      help: "run once, with these arguments: a list, or an object by their names",
    },
    input: {
      type: "string",
      value: "JSON",
      help: "run once, with these parts of an input ('skep types NAME' lists them)",
    },
    context: { type: "string", value: "JSON", help: "fields of the context, by their uapi names" },
    ...ENGINE_OPTIONS,
    ...TARGET_OPTIONS,
    ...STRICT_OPTION,
    layer: {
      type: "string",
      value: "network|link",
      help: "where a socket filter's data begins (default network, as in BPF_PROG_TEST_RUN)",
    },
    kernel: { type: "boolean", help: "run the packets in the kernel too (BPF_PROG_TEST_RUN) and compare" },
    maps: {
      type: "string",
      value: "FILE",
      help: "fill maps from a JSON file first: { MAP: [{ key, value }] }",
    },
    "map-size": MAP_SIZE_OPTION,
    cpus: {
      type: "string",
      value: "N",
      help: "CPUs of the machine (default 1); the program runs on the first",
    },
    count: { type: "string", short: "c", value: "N", help: "stop after N packets" },
    packets: { type: "boolean", help: "show the verdict of each packet" },
    all: { type: "boolean", help: "show all elements of maps, not the first 16" },
  },
  examples: [
    ["skep run firewall.bpf.o -r web.pcap", "what does the firewall do with this traffic?"],
    [
      "skep run rewrite.bpf.o -p encapsulate -r web.pcap -w out.pcap",
      "write the packets as the program left them",
    ],
    [
      'skep run policy.bpf.o -p connect4 --input \'{"address": "10.0.0.1:80"}\'',
      "what does a connect program do with this address?",
    ],
    [
      'skep run trace.bpf.o -p opened --btf /sys/kernel/btf/vmlinux --args \'{"file": {"f_flags": 1}}\'',
      "a program at a kernel function, with a structure made up for it",
    ],
    ["tcpdump -w - | skep run firewall.bpf.o -r - --json", "read from a pipe, answer in JSON"],
  ],
  run,
};

const EVENT_OPTIONS = ["args", "input", "context"] as const;

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "run", "an object file");
  const input = text(values, "read");
  if (input === undefined && EVENT_OPTIONS.some((option) => values[option] !== undefined)) {
    return runEvent(invocation, path);
  }
  if (input === undefined) {
    const one = "or --args JSON for a program that takes no packets";
    throw new BpfError(
      "usage",
      `run: no input given; use -r FILE for a capture, ${one} (see 'skep run --help')`,
    );
  }
  const limit = integer(values, "count", 1, Number.MAX_SAFE_INTEGER);
  const mapFile = text(values, "maps");
  checkOutput(text(values, "write"), [
    path,
    ...(mapFile === undefined ? [] : [mapFile]),
    ...targetFiles(values),
  ]);

  const spec = await readObject(path, values);
  const chosen = chooseProgram(spec, text(values, "program"));
  const trace: string[] = [];
  let traced = 0;
  const machine = await Machine.create({
    ...machineOptions(values),
    cpus: integer(values, "cpus", 1, 1024) ?? 1,
    onTrace: (line) => {
      if (traced++ < MAX_TRACE) trace.push(line);
    },
  });
  const { programs, maps, notes } = await machine.load(spec, {
    programs: [chosen.name],
    mapSizes: mapSizesOf(values),
    ...(await targetOf(values)),
  });
  const program = programs[chosen.name] as Program;
  const { hook } = program;
  const { engine } = machine;
  if (mapFile !== undefined) await fillMaps(mapFile, maps);
  const compilation = engine === "jit" ? program.compile() : undefined;

  const layer = choice<Layer>(values, "layer", ["network", "link"]);
  const kernel = values["kernel"] === true ? await openKernel(spec, program, mapFile, layer) : undefined;
  try {
    const result = await runCapture({
      program,
      input,
      output: text(values, "write"),
      layer,
      limit,
      keepResults: values["packets"] === true,
      terminal,
      kernel,
    });
    return tell(result);
  } finally {
    kernel?.close();
  }

  function tell(result: CaptureResult): number {
    const kernelReport = kernel?.report();
    const report = {
      version: JSON_VERSION,
      object: path,
      program: { name: chosen.name, type: chosen.type, section: chosen.section },
      engine,
      verified: program.verified,
      safety: program.safety,
      notes,
      ...(compilation === undefined
        ? {}
        : { compile: { ms: compilation.ms, bytes: compilation.module.length } }),
      capture: input,
      packets: result.verdicts.packets,
      bytes: result.verdicts.bytes,
      verdicts: result.verdicts.rows(),
      faults: result.faults.count,
      ...(result.faults.first === undefined ? {} : { firstFault: result.faults.first.toJSON() }),
      ...(result.results === undefined ? {} : { results: result.results }),
      runMs: result.runNs / 1e6,
      totalMs: result.totalMs,
      packetsPerSecond: packetsPerSecond(result.verdicts.packets, result.totalMs),
      maps: mapReports(maps),
      trace,
      ...(kernelReport === undefined ? {} : { kernel: kernelReport }),
      ...(result.output === undefined ? {} : { output: result.output }),
      ...(result.damage === undefined ? {} : { error: result.damage.toJSON() }),
    };
    if (json) terminal.line(toJson(report));
    else {
      showRun(report, hook, invocation, traced);
      if (result.faults.first !== undefined) {
        terminal.note(
          `skep: ${result.faults.first.message}${result.faults.count > 1 ? ` (and ${result.faults.count - 1} more such packets)` : ""}`,
        );
      }
      if (result.damage !== undefined)
        terminal.note(`skep: ${result.damage.message}; what came before was processed`);
    }
    if (result.damage !== undefined) return 2;
    return result.faults.count > 0 || (kernelReport?.differences ?? 0) > 0 ? 1 : 0;
  }
}

/** One run of a program of any type that takes no packets. */
async function runEvent({ values, terminal, json }: Invocation, path: string): Promise<number> {
  const spec = await readObject(path, values);
  const chosen = chooseProgram(spec, text(values, "program"), "event");
  const trace: string[] = [];
  const { btf, kconfig } = await targetOf(values);
  const machine = await Machine.create({
    ...machineOptions(values),
    ...(btf === undefined ? {} : { btf }),
    cpus: integer(values, "cpus", 1, 1024) ?? 1,
    onTrace: (line) => {
      if (trace.length < MAX_TRACE) trace.push(line);
    },
  });
  const { programs, maps } = await machine.load(spec, {
    programs: [chosen.name],
    mapSizes: mapSizesOf(values),
    ...(kconfig === undefined ? {} : { kconfig }),
  });
  const program = programs[chosen.name] as Program;
  const mapFile = text(values, "maps");
  if (mapFile !== undefined) await fillMaps(mapFile, maps);
  const result = program.run(eventInput(values));
  const reports = mapReports(maps);
  if (!json) showEvent(program, result, reports, trace, terminal, values["all"] === true);
  else {
    const { returnValue, returnName, context, durationNs, verified } = result;
    terminal.line(
      toJson({
        version: JSON_VERSION,
        object: path,
        program: { name: chosen.name, type: chosen.type, section: chosen.section },
        engine: machine.engine,
        verified,
        returnValue,
        returnName,
        ...extraOf(result),
        context,
        durationNs,
        maps: reports,
        trace,
      }),
    );
  }
  return 0;
}

/** TEST_RUN shows a socket filter the packet from its network header on, and nothing else. */
async function openKernel(
  spec: ObjectSpec,
  program: Program,
  mapFile: string | undefined,
  layer: Layer | undefined,
): Promise<KernelShadow> {
  if (layer === "link")
    throw new BpfError("usage", "run: --kernel cannot show a program the link layer: leave --layer out");
  // Loaded only when it is asked for: it is a third of what there is to load.
  const { KernelShadow } = await import("../run/kernel.ts");
  return KernelShadow.create(spec, program, mapFile);
}

/** The program that is meant: the named one, or the only one that a capture can be run through. */
function chooseProgram(
  spec: ObjectSpec,
  name: string | undefined,
  kind: "capture" | "event" = "capture",
): ProgramSpec & { type: NonNullable<ProgramSpec["type"]> } {
  const all = Object.values(spec.programs);
  const list = all.map((program) => `${program.name} (${program.section})`).join(", ");
  const fail = (message: string): never => {
    throw new BpfError("usage", `${spec.name}: ${message}`, { where: { file: spec.name } });
  };
  const candidates =
    name === undefined
      ? all.filter(({ type }) => type !== undefined && takesPackets(hookOf(type)) === (kind === "capture"))
      : all.filter((program) => program.name === name);
  const [chosen, ...others] = candidates;
  if (all.length === 0) fail("it has no programs");
  if (chosen === undefined) {
    if (name !== undefined) fail(`no program '${name}'; it has ${list}`);
    fail(
      kind === "capture"
        ? `none of its programs can be run over a capture (use --args or --input); it has ${list}`
        : `all of its programs are run over a capture (-r FILE); it has ${list}`,
    );
  }
  if (others.length > 0) fail(`it has several programs: choose one with -p: ${list}`);
  const { type } = chosen as ProgramSpec;
  if (type === undefined) fail(`program '${name}': its section '${chosen?.section}' names no type`);
  else if (takesPackets(hookOf(type)) !== (kind === "capture")) {
    fail(
      kind === "capture"
        ? `program '${name}' of section '${chosen?.section}' takes no packets: give it --args or --input ('skep types ${type}')`
        : `program '${name}' of section '${chosen?.section}' is run over a capture: -r FILE`,
    );
  }
  return chosen as ProgramSpec & { type: NonNullable<ProgramSpec["type"]> };
}
