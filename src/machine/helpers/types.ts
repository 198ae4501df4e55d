import type { Btf } from "../../btf/index.ts";
import type { CoreExports } from "../../core/index.ts";
import { BpfError } from "../../errors.ts";
import { type AttachType, type HelperName, type ProgramType, helperId } from "../../uapi/index.ts";
import type { Handles } from "../handles.ts";
import type { Heap } from "../heap.ts";
import type { BpfMap } from "../map.ts";
import type { MapDefinition } from "../maps/definition.ts";
import type { LinearMemory } from "../memory.ts";
import type { KernelObject, ObjectValue } from "../objects/index.ts";
import type { Regions } from "../regions.ts";
import type { RunState } from "../run/runner.ts";
import type { Cgroup, Task } from "../world/tasks.ts";
import type { World } from "../world/world.ts";
import type { Files } from "./system.ts";
import type { Timers } from "./timers.ts";

/** Functions of the core that helpers in TypeScript call. */
type CoreFunction =
  | "field_at"
  | "field_beside"
  | "owner_of"
  | "may_access"
  | "may_probe"
  | "space_of"
  | "stack_map_put"
  | "map_lookup_elem"
  | "map_update_elem"
  | "ringbuf_reserve"
  | "ringbuf_submit"
  | "ringbuf_discard"
  | "perf_event_output"
  | "arena_alloc_pages"
  | "arena_free_pages"
  | "arena_reserve_pages"
  | "csum_diff"
  | "skb_push_outer"
  | "skb_pop_outer"
  | "skb_net_push"
  | "skb_net_pop"
  | "xdp_get_buff_len"
  | "xdp_load_bytes"
  | "xdp_store_bytes"
  | "xdp_pull_data"
  | "xdp_pointer";

/** What a helper written in TypeScript can reach. */
export interface HelperWorld {
  readonly memory: LinearMemory;
  /** What the core does for maps and records, for helpers that do more with it. */
  readonly core: Pick<CoreExports, CoreFunction>;
  /** Interfaces, routes, sockets, processes: what lies outside of the machine. */
  readonly world: World;
  readonly cpus: number;
  /** Nanoseconds since boot, as CLOCK_MONOTONIC counts. */
  now(): bigint;
  /** Takes a line that a program printed. */
  trace(line: string): void;
  /** The map whose descriptor lies at an address. */
  mapAt(address: number): BpfMap | undefined;
  /** The BTF of the program whose descriptor lies at an address, if a type of it has a size; undefined if not. */
  btfOf(program: number, type: number): Btf | undefined;
  /** Objects that programs allocate. */
  readonly heap: Heap;
  /** What sandboxed runs hold. */
  readonly handles: Handles;
  /** Whether the program that runs on a CPU is sandboxed. */
  isSandboxed(exec: number): boolean;
  /** Types that the machine knows, the kernel's first if it was given them. */
  readonly types: Iterable<Btf>;
  /** The address of a process's struct task_struct, made of the kernel's types if the machine has them; undefined if not. */
  taskObject(task: Task): number | undefined;
  /** The address of a control group's struct cgroup; of something that stands for it if the machine knows no such type. */
  cgroupObject(cgroup: Cgroup): number;
  /** A structure of the kernel's; undefined if the machine knows no such type. */
  alloc(type: string, value: ObjectValue): KernelObject | undefined;
  /** The map of that number (BPF_MAP_GET_FD_BY_ID). */
  mapOf(id: number): BpfMap | undefined;
  createMap(definition: MapDefinition): BpfMap;
  /** Descriptors that programs hold. */
  readonly files: Files;
  /** Timers and work queues of programs. */
  readonly timers: Timers;
  /** Where memory that helpers hand out becomes known to the sandbox. */
  readonly regions: Pick<Regions, "add" | "remove">;
  /** What the run under way is about. */
  readonly run: RunState;
  /** Of the program whose descriptor lies at an address. */
  programAt(descriptor: number): {
    readonly type: ProgramType | undefined;
    readonly attachType: AttachType | undefined;
    readonly attachTo: string | undefined;
    /** Those that it is fitted to, then its own. */
    readonly types: readonly Btf[];
  };
  /**
   * Calls a function of the running program, by the address of its descriptor.
   *
   * @returns its r0.
   */
  callBack(func: number, ...args: readonly (number | bigint)[]): bigint;
}

/** r1 to r5 as a helper wants them. Valid only during the call. */
export interface HelperArguments {
  /** Address of the execution state of the CPU that runs. */
  readonly exec: number;
  u32(register: number): number;
  i32(register: number): number;
  u64(register: number): bigint;
}

/** A helper in TypeScript. A number is sign-extended into r0; a bigint is stored as its low 64 bits. */
export interface HostHelper {
  readonly name: HelperName;
  /** How many of r1 to r5 it reads. */
  readonly args: 0 | 1 | 2 | 3 | 4 | 5;
  call(world: HelperWorld, args: HelperArguments): number | bigint;
}

/** The error of a helper or kernel function that asks for a part of the world that is not there; says how to provide it. */
export function notInWorld(name: string, lacks: string, provide: string): BpfError {
  const helper = helperId(name) !== undefined;
  const what = helper ? `helper bpf_${name}` : `kernel function bpf_${name}`;
  const answer = helper ? `machine.mockHelper("${name}", ...)` : `machine.registerKfunc("bpf_${name}", ...)`;
  return new BpfError("helper", `${what}: ${lacks}; ${provide}, or give it an answer with ${answer}`);
}
