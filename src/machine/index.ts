/** A live address space: memory, maps, programs, engines, helpers, clocks. */
export { frameArea, withMetadata } from "./packet-context.ts";
export { Machine } from "./machine.ts";
export type {
  JoinOptions,
  LoadInstructionsOptions,
  LoadOptions,
  Loaded,
  MachineOptions,
} from "./options.ts";
export type { ImageReference } from "./image.ts";
export {
  Program,
  type Compilation,
  type Layer,
  type PacketsOptions,
  type RunInput,
  type RunResult,
} from "./program.ts";
export { PreparedCall, PreparedPacket } from "./prepared.ts";
export { Debugger, type DebugSnapshot, type StackFrame } from "./debug.ts";
export { BpfMap } from "./map.ts";
export type {
  Codec,
  MapDefinition,
  MapField,
  MapObject,
  ObjectHandle,
  ProgramHandle,
  UpdateFlag,
} from "./maps/definition.ts";
export type { BatchResult, KeptPacket, Packets, Redirect } from "./runner.ts";
export type { Batch, BatchOptions } from "./maps/batch.ts";
export { type MapTypeInfo, listMapTypes, mapTypesMarkdown } from "./maps/list.ts";
export type { PerfEvent } from "./maps/perf.ts";
export { type RegionDefinition, Regions } from "./regions.ts";
export type { Safety, Unverified } from "./safety.ts";
export type { SharedMachine } from "./share.ts";
export { LinearMemory } from "./memory.ts";
export { type Clock, RealClock, VirtualClock } from "./clock.ts";
export { type HelperInfo, type KfuncInfo, helpersMarkdown, listHelpers, listKfuncs } from "./helpers/list.ts";
export type { HelperCall, HelperMock, HelperRecord, HelperSpy } from "./helpers/mock.ts";
export * from "./world/index.ts";
export { KernelObject, type ObjectValue, type PlacedObject, UserMemory } from "./objects/index.ts";
export type * from "./run/input.ts";
export { inputKeys } from "./run/table.ts";
export { type Engine, ENGINES } from "./engine.ts";
export { type CheckInput, checkStructure } from "./check.ts";
