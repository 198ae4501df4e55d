/** The compiler as its users meet it. */
import {
  type CbpfFunction,
  type CbpfInstruction,
  type CbpfRunOptions,
  checkCbpf,
  compileFunction,
  runCbpf,
  toEbpf,
} from "../cbpf/index.ts";
import type { Instruction } from "../isa/index.ts";
import { BpfError } from "../errors.ts";
import type { FilterCompat, GeneratorOptions } from "./context.ts";
import { generate } from "./generate.ts";
import { Graph, type GraphNode } from "./graph.ts";
import { type LinkRow, linkRow } from "./linktypes.ts";
import { emit } from "./emit.ts";
import { optimize, withoutQuestions } from "./optimize.ts";
import { parseFilter } from "./parser.ts";
import type { FilterWarning } from "./problem.ts";
import { type FilterResolver, NO_NAMES, parseIp4 } from "./resolver.ts";
import type { FilterTree } from "./syntax.ts";

/** How an expression shall be compiled. */
export interface FilterOptions {
  /** DLT or LINKTYPE number, or its name ("EN10MB"); Ethernet by default. */
  readonly linktype?: number | string | undefined;
  /** What the filter returns for packets that match: how many bytes to keep; default 262,144. */
  readonly snaplen?: number | undefined;
  /** Default true. */
  readonly optimize?: boolean | undefined;
  /** For `ip broadcast`, as a number (0xffffff00) or as text ("255.255.255.0"); unknown by default. */
  readonly netmask?: number | string | undefined;
  /** Knows the names of hosts; none by default. */
  readonly resolver?: FilterResolver | undefined;
  /** "libpcap" for libpcap's reading where ours is better on purpose. */
  readonly compat?: FilterCompat;
  /** The filter will be attached to a live Linux socket, so it may ask for facts beside the packet; default false. */
  readonly live?: boolean | undefined;
  /**
   * The packets come from a capture file: nothing beside them can be asked (`ifindex`, `inbound`), and loopback frames
   * (NULL, LOOP, ENC) carry the address families of the BSDs instead of Linux's; default false.
   */
  readonly savefile?: boolean | undefined;
}

/** A compiled filter. */
export interface CompiledFilter {
  readonly expression: string;
  readonly link: LinkRow;
  readonly tree: FilterTree;
  readonly warnings: readonly FilterWarning[];
  readonly cbpf: readonly CbpfInstruction[];
  /**
   * The same as a socket filter in extended BPF, translated when it is first asked for.
   *
   * @throws BpfError code "program" for a program that jumps backwards (`protochain`), which extended BPF can't
   */
  readonly ebpf: readonly Instruction[];
  /** 0 if a packet doesn't match, otherwise the snapshot length. */
  matches(packet: Uint8Array, meta?: CbpfRunOptions): number;
  /** The decisions, for explanations. */
  readonly graph: GraphNode;
}

const OPTIONS: ReadonlySet<string> = new Set([
  "linktype",
  "snaplen",
  "optimize",
  "netmask",
  "resolver",
  "compat",
  "live",
  "savefile",
]);
const DEFAULT_SNAPLEN = 262144;

function netmaskOf(netmask: number | string | undefined): number | undefined {
  return typeof netmask === "string" ? (parseIp4(netmask) ?? -1) : netmask;
}

function checkOptions(options: FilterOptions): void {
  for (const key of Object.keys(options)) {
    if (!OPTIONS.has(key)) {
      throw new BpfError(
        "usage",
        `compileFilter: there is no option '${key}'; there are ${[...OPTIONS].join(", ")}`,
      );
    }
  }
  const { snaplen, compat } = options;
  const netmask = netmaskOf(options.netmask);
  for (const [name, value] of Object.entries({ snaplen, netmask })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 0 && value <= 0xffffffff)) {
      throw new BpfError("usage", `compileFilter: ${name} must be a whole number of 32 bits`);
    }
  }
  if (compat !== undefined && compat !== "libpcap") {
    throw new BpfError("usage", "compileFilter: compat can only be 'libpcap'");
  }
}

/** Programs up to this length are compiled in two ways. */
const SMALL = 64;

interface Compiled {
  readonly cbpf: readonly CbpfInstruction[];
  readonly root: GraphNode;
  readonly warnings: FilterWarning[];
}

function compileTree(
  tree: FilterTree,
  link: LinkRow,
  options: GeneratorOptions,
  optimized: boolean,
  snaplen: number,
): Compiled {
  const { predicate, values, warnings } = generate(tree, link, options);
  const graph = new Graph(values);
  const built = graph.build(predicate, graph.accept, graph.reject);
  const root = optimize(graph, built);
  const emitted = optimized ? root : withoutQuestions(graph, built);
  return { cbpf: emit(emitted, { snaplen }), root, warnings };
}

/** How many packets are interpreted before a filter is worth compiling, which takes as long as some thousand packets. */
const INTERPRETED = 16;

function matcherOf(program: readonly CbpfInstruction[]): CompiledFilter["matches"] {
  let calls = 0;
  let compiled: CbpfFunction | undefined;
  return (packet, meta) => {
    if (calls < INTERPRETED && ++calls === INTERPRETED) compiled = compileFunction(program);
    if (compiled === undefined) return runCbpf(program, packet, meta);
    if (meta === undefined) return compiled(packet);
    const plain = meta.flavor !== "libpcap" && meta.networkOffset === undefined && meta.fuel === undefined;
    return plain
      ? compiled(packet, (meta.wireLength ?? packet.length) >>> 0)
      : runCbpf(program, packet, meta);
  };
}

function linuxRefusal(program: readonly CbpfInstruction[]): string | undefined {
  try {
    checkCbpf(program);
    return undefined;
  } catch (error) {
    if (error instanceof BpfError) return error.message;
    throw error;
  }
}

/**
 * Our reading, or libpcap's where ours has no meaning: `pppoes or mpls` on Frame Relay asks for labels that only PPP has, and
 * to libpcap the `mpls` stands behind the PPPoE header.
 */
function withFallback<R extends { readonly compat: FilterCompat }>(
  readings: R,
  compile: (readings: R) => Compiled,
): { readonly best: Compiled; readonly readings: R } {
  try {
    return { best: compile(readings), readings };
  } catch (error) {
    if (readings.compat === "libpcap" || !(error instanceof BpfError)) throw error;
    const theirs = { ...readings, compat: "libpcap" as const };
    let best: Compiled;
    try {
      best = compile(theirs);
    } catch {
      throw error;
    }
    const { message, where } = error;
    const at = (where.column ?? 1) - 1;
    const span = { start: at, end: at + 1 };
    best.warnings.push({
      code: "compat",
      message: `read as libpcap reads it, for otherwise: ${message.replace(/^.*?column \d+: /, "")}`,
      span,
    });
    return { best, readings: theirs };
  }
}

/**
 * Compiles a filter expression (pcap-filter(7)).
 *
 * @throws BpfError code "filter" with `where.column` for an expression that can't be read or has no meaning for the
 * link type; code "usage" for options that make no sense, code "linktype" for an unknown link type
 * @example
 * const filter = compileFilter("tcp port 80", { linktype: 1 });
 * filter.matches(new Uint8Array(60)); // 0
 */
export function compileFilter(expression: string, options: FilterOptions = {}): CompiledFilter {
  checkOptions(options);
  const {
    linktype = 1,
    snaplen = DEFAULT_SNAPLEN,
    resolver = NO_NAMES,
    compat,
    live = false,
    savefile = false,
  } = options;
  const link = linkRow(linktype);
  if (link === undefined)
    throw new BpfError("linktype", `link type ${linktype}: there is none of that name or number`);
  const tree = parseFilter(expression, compat);
  const optimized = Boolean(options.optimize ?? true);
  const wished = { netmask: netmaskOf(options.netmask), resolver, compat, live, savefile };
  const first = (readings: typeof wished): Compiled =>
    compileTree(tree, link, { ...readings, search: true }, optimized, snaplen);
  const { best, readings } = withFallback(wished, first);
  const { warnings, root } = best;
  let { cbpf } = best;
  if (optimized && cbpf.length <= SMALL) {
    // Both ways are right; of short programs the shorter is taken.
    const other = compileTree(tree, link, { ...readings, search: false }, true, snaplen);
    if (other.cbpf.length < cbpf.length) ({ cbpf } = other);
  }
  const whole = { start: 0, end: expression.length };
  if (root.kind === "end" && !root.accept) {
    warnings.push({ code: "never", message: "no packet can match this expression", span: whole });
  } else if (root.kind === "end" && tree.kind !== "everything") {
    warnings.push({ code: "always", message: "every packet matches this expression", span: whole });
  }
  const refusal = linuxRefusal(cbpf);
  if (refusal !== undefined)
    warnings.push({ code: "linux", message: `Linux would refuse it: ${refusal}`, span: whole });
  let ebpf: readonly Instruction[] | undefined;
  return {
    expression,
    link,
    tree,
    warnings,
    cbpf,
    get ebpf() {
      ebpf ??= toEbpf(cbpf);
      return ebpf;
    },
    graph: root,
    matches: matcherOf(cbpf),
  };
}
