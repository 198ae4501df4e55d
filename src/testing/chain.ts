/**
 * Tests that are BPF programs themselves, as Cilium writes them: sections `TYPE/test/NAME/pktgen`, `setup` and `check`. The first makes
 * a packet, the second usually tail-calls into the code under test, the third looks at what came out: its packet begins with
 * the 32 bits that setup returned. Results of single assertions stand in the map `suite_result_map` (chain-result.ts).
 *
 * The rules are those of Cilium's runner (bpf/tests/bpftest): tests in alphabetical order on the same maps, packets of the largest
 * size that fits a page to begin with, and the context of tc programs handed on from step to step.
 */
import { BpfError } from "../errors.ts";
import type { Machine, Program } from "../machine/index.ts";
import type { ObjectSpec, ProgramSpec } from "../object/index.ts";
import {
  type CheckLine,
  readSuiteResult,
  type SuiteResult,
  TEST_STATUSES,
  type TestStatus,
} from "./chain-result.ts";

/** The programs of one test, by step. */
export interface TestChain {
  readonly name: string;
  readonly pktgen?: string;
  readonly setup?: string;
  readonly check: string;
}

/** What came of one test. */
export interface ChainResult {
  readonly name: string;
  readonly status: TestStatus;
  /** Assertions that have names of their own. */
  readonly tests: readonly CheckLine[];
  /** What the test logged. */
  readonly log: readonly string[];
  /** A run that was stopped. */
  readonly error?: BpfError;
}

const SECTION = /^[^/]+\/test\/([^/]+)\/(pktgen|setup|check)$/;
const RESULT_MAP = "suite_result_map";
/** Marks that Cilium's mocks leave for the check; cleared between tests like the results. */
const CLEARED = [RESULT_MAP, "mock_skb_meta_map"];

/** A page less headroom and struct skb_shared_info: the largest packet that TEST_RUN gives a program in one piece. */
const PACKET_SIZE = 4096 - 256 - 320;

/** Fields of `struct __sk_buff` that TEST_RUN takes and gives back (net/bpf/test_run.c: convert___skb_to_skb). */
const CARRIED = [
  "mark",
  "priority",
  "ifindex",
  "ingress_ifindex",
  "cb",
  "tstamp",
  "wire_len",
  "gso_segs",
  "gso_size",
];

/**
 * The tests of an object, in the order in which they run.
 *
 * @throws BpfError code "object" for a test without a check.
 */
export function testChains({ name: file, programs }: ObjectSpec): readonly TestChain[] {
  const found = new Map<string, Record<string, ProgramSpec>>();
  for (const program of Object.values(programs)) {
    const [, name, step] = SECTION.exec(program.section) ?? [];
    if (name === undefined || step === undefined) continue;
    found.set(name, { ...found.get(name), [step]: program });
  }
  return [...found.keys()].sort().map((name) => {
    const { pktgen, setup, check } = found.get(name) as Record<string, ProgramSpec | undefined>;
    if (check === undefined)
      throw new BpfError("object", `${file}: test '${name}' has no check program`, { where: { file } });
    return {
      name,
      check: check.name,
      ...(pktgen === undefined ? {} : { pktgen: pktgen.name }),
      ...(setup === undefined ? {} : { setup: setup.name }),
    };
  });
}

/** A program that goes into a slot of a program array. */
export interface TailCall {
  readonly program: string;
  readonly map: string;
  readonly index: number;
}

const TAIL_TAG = /^tail:([^/]+)\/(\d+)$/;

/**
 * Programs that say themselves which slot of which program array they go into, by a declaration tag "tail:MAP/INDEX", as Cilium's do.
 */
export function taggedTailCalls({ btf, programs }: ObjectSpec): readonly TailCall[] {
  const calls: TailCall[] = [];
  for (const tag of btf?.types() ?? []) {
    if (tag.kind !== "decl_tag") continue;
    const [, map, index] = TAIL_TAG.exec(tag.name) ?? [];
    const owner = btf?.type(tag.type);
    if (map === undefined || owner?.kind !== "func" || programs[owner.name] === undefined) continue;
    calls.push({ program: owner.name, map, index: Number(index) });
  }
  return calls;
}

/** Puts programs into the slots that they name; those that were not loaded are left out. */
export function placeTailCalls(
  calls: readonly TailCall[],
  { programs, maps }: Awaited<ReturnType<Machine["load"]>>,
): void {
  for (const { program, map, index } of calls) {
    const loaded = programs[program];
    if (loaded !== undefined) maps[map]?.setProgram(index, loaded);
  }
}

/** Programs that the tests of an object need: their steps, and those that tail calls go to. */
export function chainPrograms(
  chains: readonly TestChain[],
  tailCalls: readonly TailCall[] = [],
): readonly string[] {
  const steps = chains.flatMap(({ pktgen, setup, check }) =>
    [pktgen, setup, check].filter((name) => name !== undefined),
  );
  return [...new Set([...steps, ...tailCalls.map(({ program }) => program)])];
}

/**
 * Runs one test.
 *
 * @param loaded the object's programs and maps as {@link Machine.load} gave them.
 */
export function runChain(
  chain: TestChain,
  { programs, maps }: Awaited<ReturnType<Machine["load"]>>,
): ChainResult {
  let packet: Uint8Array = new Uint8Array(PACKET_SIZE);
  let context: Record<string, unknown> = {};
  const run = (name: string): number => {
    const program = programs[name] as Program;
    const {
      returnValue,
      packet: left,
      metadata,
      context: after,
    } = program.run({ packet, context: context as never });
    // TEST_RUN gives the metadata area of an XDP frame back in front of it.
    packet = metadata.length === 0 ? left : Uint8Array.from([...metadata, ...left]);
    if (program.type === "sched_cls")
      context = Object.fromEntries(
        CARRIED.map((field) => [field, (after as Record<string, unknown>)[field]]),
      );
    return Number(returnValue) >>> 0;
  };
  try {
    if (chain.pktgen !== undefined) run(chain.pktgen);
    if (chain.setup !== undefined) {
      const status = run(chain.setup);
      const withStatus = new Uint8Array(4 + packet.length);
      new DataView(withStatus.buffer).setUint32(0, status, true);
      withStatus.set(packet, 4);
      packet = withStatus;
    }
    const status = run(chain.check);
    const bytes = maps[RESULT_MAP]?.lookup(new Uint8Array(4)) ?? new Uint8Array(0);
    const { tests, log }: SuiteResult = readSuiteResult(bytes);
    return { name: chain.name, status: worst(TEST_STATUSES[status] ?? "error", tests), tests, log };
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return { name: chain.name, status: "error", tests: [], log: [], error };
  } finally {
    for (const name of CLEARED) {
      const map = maps[name];
      if (map !== undefined) map.update(new Uint8Array(map.keySize), new Uint8Array(map.valueSize));
    }
  }
}

/** A test of whose assertions one failed has failed, whatever it returned. */
function worst(status: TestStatus, tests: readonly CheckLine[]): TestStatus {
  for (const bad of ["error", "fail"] as const)
    if (status === bad || tests.some((test) => test.status === bad)) return bad;
  return status;
}
