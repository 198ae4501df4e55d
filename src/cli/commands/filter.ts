import { stat } from "node:fs/promises";
import { type PacketBatch, linktypeName, packetAt } from "../../capture/index.ts";
import {
  type CbpfMatcher,
  compileMatcher,
  formatCbpfC,
  formatCbpfListing,
  formatCbpfNumbers,
} from "../../cbpf/index.ts";
import { milliseconds } from "../../elapsed.ts";
import { BpfError } from "../../errors.ts";
import {
  type CompiledFilter,
  type FilterOptions,
  caretExcerpt,
  compileFilter,
  explainFilter,
  parseHosts,
  whyFilter,
} from "../../filter/index.ts";
import { type Command, type Invocation, type Values, integer, text } from "../command.ts";
import { checkOutput, readInput } from "../files.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { CaptureOutput } from "../run/output.ts";
import { type PacketSource, openPackets } from "../run/packets.ts";
import { type Terminal, count, duration } from "../terminal.ts";

export const filterCommand: Command = {
  name: "filter",
  usage: "EXPRESSION [-r CAPTURE [-w OUT]]",
  description:
    "Compiles a filter expression (pcap-filter(7)) and shows its program, or applies it to a capture. The flags are\n" +
    "tcpdump's. Names of services and protocols come from built-in tables; names of hosts only from the files that are\n" +
    "given: nothing is ever looked up on the network.",
  options: {
    d: {
      type: "boolean",
      short: "d",
      multiple: true,
      help: "show the program and stop; -dd as a C fragment, -ddd as numbers (default without -r)",
    },
    linktype: {
      type: "string",
      short: "y",
      value: "DLT",
      help: "link type (default EN10MB, with -r the capture's)",
    },
    snaplen: { type: "string", short: "s", value: "N", help: "bytes to keep of a packet (default 262144)" },
    "no-optimize": { type: "boolean", short: "O", help: "do not optimise the program" },
    read: { type: "string", short: "r", value: "FILE", help: "the capture; - is standard input" },
    write: {
      type: "string",
      short: "w",
      value: "FILE",
      help: "write the packets that match (.pcapng: as pcapng)",
    },
    count: { type: "string", short: "c", value: "N", help: "stop after N packets that match" },
    list: { type: "boolean", short: "l", help: "a line for each packet that matches" },
    netmask: { type: "string", value: "N", help: "for 'ip broadcast', as 255.255.255.0 or 0xffffff00" },
    hosts: { type: "string", value: "FILE", help: "names of hosts, as in /etc/hosts" },
    ethers: { type: "string", value: "FILE", help: "names of Ethernet addresses, as in /etc/ethers" },
    networks: { type: "string", value: "FILE", help: "names of networks, as in /etc/networks" },
    explain: { type: "boolean", help: "say in words what the filter asks, as a list of decisions" },
    why: {
      type: "boolean",
      help: "--why FILE: say for each packet whether it matches and which test decided",
    },
    libpcap: { type: "boolean", help: "read the expression as libpcap does where skep is better on purpose" },
  },
  examples: [
    ["skep filter -d 'tcp port 80'", "the program, as tcpdump -d shows it"],
    ["skep filter --explain 'tcp and not port 22'", "what does it ask?"],
    ["skep filter 'host 10.0.0.1 and not port 22' -r in.pcap -w out.pcap", "the packets that match"],
    ["tcpdump -w - | skep filter 'udp' -r - -w out.pcap", "from a pipe"],
  ],
  run,
};

/** Which word is a file's name: `--why FILE` can stand on either side of the expression. */
async function fileAmong(words: readonly string[]): Promise<number | undefined> {
  for (const index of [0, words.length - 1]) {
    const info = await stat(words[index] ?? "").catch(() => undefined);
    if (words.length > 1 && info?.isFile() === true) return index;
  }
  return undefined;
}

async function run({ values, positionals, terminal, json }: Invocation): Promise<number> {
  const asked = values["why"] === true && text(values, "read") === undefined;
  const capture = asked ? await fileAmong(positionals) : undefined;
  const expression = positionals.filter((_, index) => index !== capture).join(" ");
  const options = await filterOptions(values);
  const input = capture === undefined ? text(values, "read") : positionals[capture];
  if (values["explain"] === true) {
    const explanation = explainFilter(compile(expression, options, terminal, json));
    if (json) terminal.line(toJson({ version: JSON_VERSION, expression, ...explanation }));
    else {
      terminal.line(explanation.summary);
      for (const { id, question, yes, no } of explanation.decisions) {
        terminal.line(
          `  ${String(id).padStart(3)}  ${question}${yes === no ? `: then ${yes}` : `? yes: ${yes}, no: ${no}`}`,
        );
      }
    }
    return 0;
  }
  if (values["why"] === true && input === undefined)
    throw new BpfError("usage", "filter: --why needs a capture: --why FILE, or -r FILE");
  const shows = (Array.isArray(values["d"]) ? values["d"].length : 0) || (input === undefined ? 1 : 0);
  if (shows > 0) {
    const filter = compile(expression, options, terminal, json);
    if (json) terminal.line(toJson({ version: JSON_VERSION, ...asJson(filter) }));
    else {
      const format = shows === 1 ? formatCbpfListing : shows === 2 ? formatCbpfC : formatCbpfNumbers;
      terminal.write(withNewline(format(filter.cbpf)));
    }
    return 0;
  }
  return apply(expression, options, input as string, values, terminal, json);
}

const withNewline = (listing: string): string => (listing.endsWith("\n") ? listing : `${listing}\n`);

function asJson({ expression, link, warnings, cbpf }: CompiledFilter): Record<string, unknown> {
  return { expression, linktype: { name: link.name, dlt: link.dlt }, warnings, instructions: cbpf };
}

/** Compiles, and shows an error or a warning with its place in the expression. */
function compile(
  expression: string,
  options: FilterOptions,
  terminal: Terminal,
  json: boolean,
): CompiledFilter {
  try {
    const filter = compileFilter(expression, options);
    if (!json) {
      for (const { message, span } of filter.warnings) {
        terminal.note(`skep: warning: ${message}\n${indent(caretExcerpt(expression, span))}`);
      }
    }
    return filter;
  } catch (error) {
    if (error instanceof BpfError && error.where.column !== undefined && !json) {
      const start = error.where.column - 1;
      const excerpt = indent(caretExcerpt(expression, { start, end: start + 1 }));
      throw new BpfError(error.code, `${error.message}\n${excerpt}`, { where: error.where, cause: error });
    }
    throw error;
  }
}

const indent = (excerpt: string): string =>
  excerpt
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");

async function filterOptions(values: Values): Promise<FilterOptions> {
  const contents = async (name: string): Promise<string> => {
    const path = text(values, name);
    return path === undefined ? "" : new TextDecoder().decode(await readInput(path));
  };
  const netmask = text(values, "netmask");
  const snaplen = integer(values, "snaplen", 0, 0xffffffff);
  return {
    linktype: text(values, "linktype"),
    ...(snaplen === undefined ? {} : { snaplen }),
    optimize: values["no-optimize"] !== true,
    ...(netmask === undefined ? {} : { netmask: parseNetmask(netmask) }),
    ...(values["libpcap"] === true ? { compat: "libpcap" } : {}),
    resolver: parseHosts({
      hosts: await contents("hosts"),
      ethers: await contents("ethers"),
      networks: await contents("networks"),
    }),
  };
}

function parseNetmask(value: string): number {
  const parts = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(value)?.slice(1).map(Number);
  const number = parts === undefined ? Number(value) : parts.reduce((sum, part) => sum * 256 + part, 0);
  if (
    Number.isInteger(number) &&
    number >= 0 &&
    number <= 0xffffffff &&
    (parts ?? []).every((part) => part < 256)
  ) {
    return number;
  }
  throw new BpfError("usage", `--netmask: '${value}' is neither 255.255.255.0 nor 0xffffff00`);
}

async function apply(
  expression: string,
  options: FilterOptions,
  input: string,
  values: Values,
  terminal: Terminal,
  json: boolean,
): Promise<number> {
  const start = milliseconds();
  const output = text(values, "write");
  checkOutput(output, [input]);
  const capture = await openPackets(input);
  // The first interface decides; a capture of several link types needs a filter for each.
  const matchers = new Map<number, CbpfMatcher>();
  const filters = new Map<number, CompiledFilter>();
  let memory = capture.memory;
  const filterOf = (linktype: number): CompiledFilter => {
    const known = filters.get(linktype);
    if (known !== undefined) return known;
    const fitting = { ...options, linktype: options.linktype ?? linktype, savefile: true };
    const filter = compile(expression, fitting, terminal, json);
    filters.set(linktype, filter);
    return filter;
  };
  const matcherOf = (linktype: number): CbpfMatcher => {
    let matcher = matchers.get(linktype);
    if (matcher === undefined) {
      const filter = filterOf(linktype);
      matcher = compileMatcher(filter.cbpf, { flavor: "libpcap", memory });
      matchers.set(linktype, matcher);
    }
    return matcher;
  };
  for (const { linktype } of capture.interfaces) matcherOf(linktype);
  const limit = integer(values, "count", 1, Number.MAX_SAFE_INTEGER) ?? Number.POSITIVE_INFINITY;
  const sink = output === undefined ? undefined : CaptureOutput.create(output, capture.like);
  const progress = terminal.progress("filtering");
  let seen = 0;
  let matched = 0;
  let out = new Uint32Array(0);
  try {
    for await (const batch of capture.batches()) {
      if (memory !== undefined && batch.data.buffer !== memory.memory.buffer) {
        // A record that is longer than the memory has moved all that follows elsewhere.
        memory = undefined;
        matchers.clear();
      }
      if (out.length < batch.count) out = new Uint32Array(batch.capacity);
      matched += matchAll(batch, matcherOf, out);
      for (let index = batch.count - 1; matched > limit; index--) {
        if (out[index] !== 0) matched--;
        out[index] = 0;
      }
      seen += batch.count;
      if (values["list"] === true && !json) list(batch, out, terminal);
      if (values["why"] === true) explainPackets(batch, filters, terminal, json);
      if (sink !== undefined) capture.write(sink, batch, out);
      progress?.update(
        capture.size === undefined ? undefined : Math.min(1, capture.offset / capture.size),
        `${count(seen)} packets`,
      );
      if (matched >= limit) break;
    }
    sink?.commit(capture.interfaces);
  } catch (error) {
    sink?.discard();
    throw error;
  } finally {
    progress?.end();
  }
  return tell({ capture, input, output, seen, matched, ms: milliseconds() - start }, terminal, json);
}

/** One call for a batch of one link type, which nearly all are. */
function matchAll(
  batch: PacketBatch,
  matcherOf: (linktype: number) => CbpfMatcher,
  out: Uint32Array,
): number {
  const { data, offset, capturedLength, originalLength, interfaceIndex, interfaces, count: packets } = batch;
  const linktypes = new Set(interfaces.map(({ linktype }) => linktype));
  if (linktypes.size === 1) {
    const matcher = matcherOf(interfaces[0]?.linktype ?? 1);
    return matcher.matchBatch(data, offset, capturedLength, packets, out, { wireLength: originalLength });
  }
  let matched = 0;
  for (let index = 0; index < packets; index++) {
    const start = offset[index] as number;
    const matcher = matcherOf(interfaces[interfaceIndex[index] as number]?.linktype ?? 1);
    const packet = data.subarray(start, start + (capturedLength[index] as number));
    out[index] = matcher.matches(packet, { wireLength: originalLength[index] as number });
    if (out[index] !== 0) matched++;
  }
  return matched;
}

function explainPackets(
  batch: PacketBatch,
  filters: ReadonlyMap<number, CompiledFilter>,
  { line }: Terminal,
  json: boolean,
): void {
  for (let index = 0; index < batch.count; index++) {
    const { number, data, originalLength, linktype } = packetAt(batch, index);
    const filter = filters.get(linktype);
    if (filter === undefined) continue;
    const reason = whyFilter(filter, data, { wireLength: originalLength });
    if (json) line(toJson({ version: JSON_VERSION, packet: number, ...reason }));
    else line(`${number}  ${reason.matched ? "matches" : "does not match"}: ${reason.because}`);
  }
}

function list(batch: PacketBatch, out: Uint32Array, { line }: Terminal): void {
  for (let index = 0; index < batch.count; index++) {
    if (out[index] === 0) continue;
    const { number, timestampNs, originalLength, linktype } = packetAt(batch, index);
    const time = new Date(Number(timestampNs / 1_000_000n)).toISOString();
    line(`${number}  ${time}  ${linktypeName(linktype)}  ${originalLength} bytes`);
  }
}

interface Outcome {
  readonly capture: PacketSource;
  readonly input: string;
  readonly output: string | undefined;
  readonly seen: number;
  readonly matched: number;
  readonly ms: number;
}

function tell(
  { capture, input, output, seen, matched, ms }: Outcome,
  terminal: Terminal,
  json: boolean,
): number {
  const damage = capture.damage?.error;
  if (json) {
    terminal.line(
      toJson({
        version: JSON_VERSION,
        capture: input,
        packets: seen,
        matched,
        ms,
        ...(output === undefined ? {} : { output }),
        ...(damage === undefined ? {} : { error: damage.toJSON() }),
      }),
    );
  } else {
    const rate = ms === 0 ? "" : `, ${count((seen / ms) * 1000)} packets/s`;
    const summary = `${matched} of ${seen} packets match (${duration(ms)}${rate})`;
    // Standard output may be the capture itself.
    if (output === "-") terminal.note(summary);
    else terminal.line(summary);
    if (damage !== undefined)
      terminal.note(`skep: ${input}: ${damage.message}; what came before was processed`);
  }
  return damage === undefined ? 0 : 2;
}
