import { type Capture, linktypeName, readCapture } from "../../capture/index.ts";
import { BpfError } from "../../errors.ts";
import { type Hook, hookOf, returnName } from "../../hooks/index.ts";
import { type Engine, type Layer, Machine, type Program } from "../../machine/index.ts";
import { type ObjectSpec, type ProgramSpec, parseObject } from "../../object/index.ts";
import { type Command, type Invocation, choice, integer, onlyPositional, text } from "../command.ts";
import { ENGINE_OPTIONS, machineOptions } from "../engine.ts";
import { readInput, streamInput } from "../files.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { fillMaps } from "../map-file.ts";
import { type MapReport, mapReports, renderMaps } from "../maps.ts";
import { CaptureOutput } from "../capture-output.ts";
import { type Terminal, count, duration, table } from "../terminal.ts";
import { type Tally, Verdicts } from "../verdicts.ts";

/** More lines than this of bpf_trace_printk are counted, not kept. */
const MAX_TRACE = 1000;
const SHOWN_TRACE = 10;

export const runCommand: Command = {
  name: "run",
  summary: "run a program over a capture: verdicts, maps, packets per second",
  usage: "OBJECT [-p PROGRAM] -r CAPTURE [-w OUT]",
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
    ...ENGINE_OPTIONS,
    layer: {
      type: "string",
      value: "network|link",
      help: "where a socket filter's data begins (default network, as in BPF_PROG_TEST_RUN)",
    },
    maps: {
      type: "string",
      value: "FILE",
      help: "fill maps from a JSON file first: { MAP: [{ key, value }] }",
    },
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
    ["tcpdump -w - | skep run firewall.bpf.o -r - --json", "read from a pipe, answer in JSON"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "run", "an object file");
  const input = text(values, "read");
  if (input === undefined)
    throw new BpfError("usage", "run: no capture given; use -r FILE (see 'skep run --help')");
  const limit = integer(values, "count", 1, Number.MAX_SAFE_INTEGER);
  const mapFile = text(values, "maps");

  const spec = parseObject(await readInput(path), { name: path });
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
  const { programs, maps } = await machine.load(spec, { programs: [chosen.name] });
  const program = programs[chosen.name] as Program;
  const { hook } = program;
  const { engine } = machine;
  if (mapFile !== undefined) await fillMaps(mapFile, maps);
  const compilation = engine === "jit" ? program.compile() : undefined;

  const result = await runCapture({
    program,
    input,
    output: text(values, "write"),
    layer: choice<Layer>(values, "layer", ["network", "link"]),
    limit,
    keepResults: values["packets"] === true,
    terminal,
  });

  const report = {
    version: JSON_VERSION,
    object: path,
    program: { name: chosen.name, type: chosen.type, section: chosen.section },
    engine,
    verified: program.verified,
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
    packetsPerSecond: perSecond(result.verdicts.packets, result.totalMs),
    maps: mapReports(maps),
    trace,
    ...(result.output === undefined ? {} : { output: result.output }),
    ...(result.damage === undefined ? {} : { error: result.damage.toJSON() }),
  };
  if (json) terminal.line(toJson(report));
  else {
    show(report, hook, invocation, traced);
    if (result.faults.first !== undefined) {
      terminal.note(
        `skep: ${result.faults.first.message}${result.faults.count > 1 ? ` (and ${result.faults.count - 1} more such packets)` : ""}`,
      );
    }
    if (result.damage !== undefined)
      terminal.note(`skep: ${result.damage.message}; what came before was processed`);
  }
  return result.damage !== undefined ? 2 : result.faults.count > 0 ? 1 : 0;
}

/** The program that is meant: the named one, or the only one that a capture can be run through. */
function chooseProgram(
  spec: ObjectSpec,
  name: string | undefined,
): ProgramSpec & { type: NonNullable<ProgramSpec["type"]> } {
  const all = Object.values(spec.programs);
  const list = all.map((program) => `${program.name} (${program.section})`).join(", ");
  const fail = (message: string): never => {
    throw new BpfError("usage", `${spec.name}: ${message}`, { where: { file: spec.name } });
  };
  const candidates =
    name === undefined
      ? all.filter(({ type }) => type !== undefined && hookOf(type) !== undefined)
      : all.filter((program) => program.name === name);
  const [chosen, ...others] = candidates;
  if (all.length === 0) fail("it has no programs");
  if (chosen === undefined) {
    if (name !== undefined) fail(`no program '${name}'; it has ${list}`);
    fail(`none of its programs can be run over a capture; it has ${list}`);
  }
  if (others.length > 0) fail(`it has several programs: choose one with -p: ${list}`);
  const { type } = chosen as ProgramSpec;
  if (type === undefined || hookOf(type) === undefined) {
    fail(`program '${name}' of section '${chosen?.section}' cannot be run over a capture yet`);
  }
  return chosen as ProgramSpec & { type: NonNullable<ProgramSpec["type"]> };
}

interface CaptureRun {
  readonly program: Program;
  readonly input: string;
  readonly output: string | undefined;
  readonly layer: Layer | undefined;
  readonly limit: number | undefined;
  readonly keepResults: boolean;
  readonly terminal: Terminal;
}

interface CaptureResult {
  readonly verdicts: Verdicts;
  readonly results: number[] | undefined;
  readonly faults: { count: number; first: BpfError | undefined };
  readonly runNs: number;
  readonly totalMs: number;
  readonly output: { path: string; packets: number } | undefined;
  readonly damage: BpfError | undefined;
}

async function runCapture({
  program,
  input,
  output,
  layer,
  limit,
  keepResults,
  terminal,
}: CaptureRun): Promise<CaptureResult> {
  const { hook } = program;
  const { chunks, size } = await streamInput(input);
  const capture = await openCapture(chunks, input);
  const sink = output === undefined ? undefined : await CaptureOutput.create(output);
  const progress = terminal.progress("running");
  const verdicts = new Verdicts(program);
  const results: number[] | undefined = keepResults ? [] : undefined;
  const faults: { count: number; first: BpfError | undefined } = { count: 0, first: undefined };
  let checked = 0;
  let runNs = 0;
  const start = performance.now();
  try {
    for await (const batch of capture.batches()) {
      for (; checked < batch.interfaces.length; checked++) {
        checkLinktype(program, hook, batch.interfaces[checked]?.linktype ?? 0, input);
      }
      const room = limit === undefined ? batch.count : Math.min(batch.count, limit - verdicts.packets);
      const packets = room === batch.count ? batch : { ...batch, count: room };
      const faulted = new Set<number>();
      const done = program.runPackets(packets, {
        ...(layer === undefined ? {} : { layer }),
        ...(sink === undefined ? {} : { onPacket: (packet) => sink.add(batch, packet) }),
        onFault: (index, error) => {
          faulted.add(index);
          faults.count++;
          faults.first ??= error;
          // Each further packet would cost seconds: a program that does not end is not run on.
          if (error.code === "fuel") throw error;
        },
      });
      runNs += done.durationNs;
      verdicts.add(done.results, packets, faulted);
      if (results !== undefined) for (const value of done.results) results.push(program.readResult(value));
      await sink?.flush();
      progress?.update(
        size === undefined ? undefined : capture.offset / size,
        `${count(verdicts.packets)} packets`,
      );
      if (limit !== undefined && verdicts.packets >= limit) break;
    }
    const { damage } = capture;
    for (; checked < capture.interfaces.length; checked++) {
      checkLinktype(program, hook, capture.interfaces[checked]?.linktype ?? 0, input);
    }
    await sink?.commit(capture.interfaces);
    return {
      verdicts,
      results,
      faults,
      runNs,
      totalMs: performance.now() - start,
      output: sink === undefined ? undefined : { path: sink.path, packets: sink.packets },
      damage: damage === undefined ? undefined : naming(damage.error, input),
    };
  } catch (error) {
    await sink?.discard();
    throw error;
  } finally {
    progress?.end();
  }
}

/** The readers of captures do not know the file's name: it goes in front. */
function naming(error: BpfError, file: string): BpfError {
  return new BpfError(error.code, `${file}: ${error.message}`, {
    where: { ...error.where, file },
    cause: error,
  });
}

async function openCapture(chunks: AsyncIterable<Uint8Array>, file: string): Promise<Capture> {
  try {
    return await readCapture(chunks, { onDamage: "stop" });
  } catch (error) {
    throw error instanceof BpfError && error.code === "capture" ? naming(error, file) : error;
  }
}

function checkLinktype(program: Program, hook: Hook, linktype: number, input: string): void {
  if (hook.linktypes.includes(linktype)) return;
  const takes = hook.linktypes.map(linktypeName).join(", ");
  throw new BpfError(
    "linktype",
    `${input}: link type ${linktypeName(linktype)} (${linktype}): program '${program.name}' of type ${hook.type} takes ${takes}`,
    { where: { file: input, program: program.name } },
  );
}

const perSecond = (packets: number, ms: number): number => (ms === 0 ? 0 : Math.round((packets / ms) * 1000));

interface Report {
  readonly program: { readonly name: string; readonly section: string };
  readonly engine: Engine;
  readonly verified: boolean;
  readonly compile?: { readonly ms: number; readonly bytes: number };
  readonly packets: number;
  readonly bytes: number;
  readonly verdicts: readonly Tally[];
  readonly results?: readonly number[];
  readonly runMs: number;
  readonly totalMs: number;
  readonly packetsPerSecond: number;
  readonly maps: readonly MapReport[];
  readonly trace: readonly string[];
  readonly output?: { readonly path: string; readonly packets: number };
}

function show(report: Report, hook: Hook, { terminal, values }: Invocation, traced: number): void {
  const { line, style } = terminal;
  const { program, packets, bytes } = report;
  line(`${style("bold", program.name)}  ${program.section}  ${hook.title}`);
  const compiled =
    report.compile === undefined
      ? ""
      : `, compiled in ${duration(report.compile.ms)} to ${count(report.compile.bytes)}B of WebAssembly`;
  line(`engine: ${report.engine}${compiled}`);
  if (!report.verified)
    line(
      style("yellow", "unverified: no verifier has proved this program safe; only its structure is checked"),
    );
  line();
  if (report.results !== undefined) {
    report.results.forEach((value, index) => line(`${index + 1}  ${returnName(hook, value)} (${value})`));
    line();
  }
  const rows = report.verdicts.map((row) => [
    row.name,
    String(row.value),
    String(row.packets),
    `${((100 * row.packets) / Math.max(packets, 1)).toFixed(1)} %`,
    String(row.bytes),
  ]);
  const [head, ...body] = table(["verdict", "value", "packets", "share", "bytes"], rows, {
    right: [1, 2, 3, 4],
  });
  line(style("bold", head ?? ""));
  for (const row of body) line(row);
  line();
  line(
    `${packets} packets, ${bytes} bytes in ${duration(report.totalMs)}: ${count(report.packetsPerSecond)} packets/s ` +
      `(${duration(report.runMs)} in the program and its batch loop)`,
  );
  if (report.output !== undefined) line(`${report.output.path}: ${report.output.packets} packets written`);
  for (const text of renderMaps(report.maps, terminal, { all: values["all"] === true })) line(text);
  if (traced > 0) {
    line();
    line(style("bold", `bpf_trace_printk: ${traced} lines`));
    for (const text of report.trace.slice(0, SHOWN_TRACE)) line(`  ${text}`);
    if (traced > SHOWN_TRACE) line(`  ... ${traced - SHOWN_TRACE} more (--json has up to ${MAX_TRACE})`);
  }
}
