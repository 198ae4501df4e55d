/** Unit tests of BPF programs: loading, assertions, packets, snapshots of maps, tests that are BPF programs themselves. */
export { assertEntries, assertEntry, assertPacket, assertReturn, CheckFailure } from "./assert.ts";
export type { PacketOptions, Returned } from "./check.ts";
export {
  chainPrograms,
  type ChainResult,
  placeTailCalls,
  runChain,
  taggedTailCalls,
  type TailCall,
  type TestChain,
  testChains,
} from "./chain.ts";
export {
  type BranchCoverage,
  Coverage,
  formatCoverage,
  formatLcov,
  type LineCoverage,
  type ProgramCoverage,
} from "./coverage.ts";
export type { CheckLine, TestStatus } from "./chain-result.ts";
export { testObject, type TestObject, type TestOptions } from "./fixture.ts";
export { matchers } from "./matchers.ts";
export {
  diffSnapshots,
  formatChanges,
  type MapChange,
  type MapsSnapshot,
  snapshotMaps,
} from "./snapshot.ts";
export {
  describePacket,
  diffPackets,
  dissect,
  eth,
  ipv4,
  ipv6,
  type PacketBuilder,
} from "../packet/index.ts";
