/** A capture through a program, batch by batch: verdicts, faults, the packets that go on, and the kernel's answers. */
import { type Capture, type PacketBatch, linktypeName, readCapture } from "../../capture/index.ts";
import { milliseconds } from "../../elapsed.ts";
import { BpfError } from "../../errors.ts";
import type { PacketHook } from "../../hooks/index.ts";
import type { Layer, Program } from "../../machine/index.ts";
import { checkOutput, streamInput } from "../files.ts";
import { type Terminal, count } from "../terminal.ts";
import type { KernelShadow } from "./kernel.ts";
import { CaptureOutput } from "./output.ts";
import { Verdicts } from "./verdicts.ts";

export interface CaptureRun {
  readonly program: Program;
  readonly input: string;
  readonly output: string | undefined;
  readonly layer: Layer | undefined;
  readonly limit: number | undefined;
  readonly keepResults: boolean;
  readonly terminal: Terminal;
  /** Runs the same packets in the kernel. */
  readonly kernel: KernelShadow | undefined;
}

export interface CaptureResult {
  readonly verdicts: Verdicts;
  readonly results: number[] | undefined;
  readonly faults: { count: number; first: BpfError | undefined };
  readonly runNs: number;
  readonly totalMs: number;
  readonly output: { path: string; packets: number } | undefined;
  readonly damage: BpfError | undefined;
}

export async function runCapture({
  program,
  input,
  output,
  layer,
  limit,
  keepResults,
  terminal,
  kernel,
}: CaptureRun): Promise<CaptureResult> {
  const { packetHook: hook } = program;
  const { chunks, size } = await streamInput(input);
  const capture = await openCapture(chunks, input);
  checkOutput(output, [input]);
  const sink = output === undefined ? undefined : CaptureOutput.create(output);
  const progress = terminal.progress("running");
  const verdicts = new Verdicts(program);
  const results: number[] | undefined = keepResults ? [] : undefined;
  const faults: { count: number; first: BpfError | undefined } = { count: 0, first: undefined };
  let runNs = 0;
  let refused: BpfError | undefined;
  const start = milliseconds();
  try {
    for await (const batch of capture.batches()) {
      const foreign = foreignPacket(batch, hook);
      if (foreign !== undefined) refused = wrongLinktype(program, hook, foreign.linktype, input);
      // What comes before a packet that the type cannot take is run and reported.
      if (refused !== undefined && verdicts.packets + (foreign?.index ?? 0) === 0) throw refused;
      const whole = foreign?.index ?? batch.count;
      const room = limit === undefined ? whole : Math.min(whole, limit - verdicts.packets);
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
      kernel?.add(batch, packets, done.results, faulted);
      verdicts.add(done.results, packets, faulted);
      if (results !== undefined) for (const value of done.results) results.push(program.readResult(value));
      sink?.flush();
      progress?.update(
        size === undefined ? undefined : Math.min(1, capture.offset / size),
        `${count(verdicts.packets)} packets`,
      );
      if (refused !== undefined || (limit !== undefined && verdicts.packets >= limit)) break;
    }
    const { damage, interfaces } = capture;
    const [first] = interfaces;
    if (
      first !== undefined &&
      interfaces.every(({ linktype }) => !hook.packet.linktypes.includes(linktype))
    ) {
      throw wrongLinktype(program, hook, first.linktype, input);
    }
    sink?.commit(capture.interfaces);
    return {
      verdicts,
      results,
      faults,
      runNs,
      totalMs: milliseconds() - start,
      output: sink === undefined ? undefined : { path: sink.path, packets: sink.packets },
      damage: refused ?? (damage === undefined ? undefined : naming(damage.error, input)),
    };
  } catch (error) {
    sink?.discard();
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

/** The first packet of a batch whose link type the program cannot take. */
function foreignPacket(
  { interfaces, interfaceIndex, count: packets }: PacketBatch,
  hook: PacketHook,
): { index: number; linktype: number } | undefined {
  if (interfaces.every(({ linktype }) => hook.packet.linktypes.includes(linktype))) return undefined;
  for (let index = 0; index < packets; index++) {
    const linktype = interfaces[interfaceIndex[index] as number]?.linktype ?? 0;
    if (!hook.packet.linktypes.includes(linktype)) return { index, linktype };
  }
  return undefined;
}

function wrongLinktype(program: Program, hook: PacketHook, linktype: number, input: string): BpfError {
  const takes = hook.packet.linktypes.map(linktypeName).join(", ");
  return new BpfError(
    "linktype",
    `${input}: link type ${linktypeName(linktype)} (${linktype}): program '${program.name}' of type ${hook.type} takes ${takes}`,
    { where: { file: input, program: program.name } },
  );
}
