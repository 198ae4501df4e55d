import {
  CORE_CPUS,
  CORE_OPERATIONS,
  CORE_SEED,
  CORE_STATES,
  EXEC_CPU,
  EXEC_FAULT,
  EXEC_FAULT_ADDRESS,
  EXEC_PROG,
  EXEC_RANDOM,
  EXEC_RUN,
  EXEC_SIZE,
  EXEC_STACK,
  EXEC_STACK_END,
  PROG_SAFETY,
  SAFETY_SANDBOX,
  STACK_BYTES,
  STACK_SIZE,
} from "../layout";
import { alloc } from "./allocator";
import { setHashSeed } from "./maps/hashing";

/** The execution state of the run under way; compiled programs import it. */
export let exec: u32 = 0;

/** What compiled code may still spend on back edges and calls. */
export let fuel: i64 = 0;

/** Whether the run under way is one of compiled code. */
export let compiled: bool = false;

export function setCompiled(on: bool): void {
  compiled = on;
}

/** Simulated CPUs; fixed by `init`. */
export let cpus: u32 = 1;

let states: u32 = 0;

/** Notes that the host begins an operation on a map. */
export function nextOperation(): void {
  store<u32>(CORE_OPERATIONS, load<u32>(CORE_OPERATIONS) + 1);
}

/**
 * Another number in each run of a program and each operation of the host: what a map gets back in one is free in the next. Runs are
 * counted by CPU: a count for all of them had two threads wait for one another at every run.
 */
export function periodOf(state: u32): u32 {
  return (load<u32>(state, EXEC_RUN) + load<u32>(CORE_OPERATIONS)) * cpus + load<u32>(state, EXEC_CPU);
}

/** Whether every access of the program under way is checked. */
export function isSandboxed(state: u32): bool {
  return load<i32>(load<u32>(state, EXEC_PROG), PROG_SAFETY) == SAFETY_SANDBOX;
}

export function setExec(state: u32): void {
  exec = state;
}

export function setFuel(amount: i64): void {
  fuel = amount;
}

// Bytes between a stack and its neighbours.
const STACK_GAP: u32 = 4096;

/** Allocates the execution states and program stacks. Once, before everything else. */
export function init(count: u32, seed: u32): void {
  cpus = count;
  states = alloc(count * EXEC_SIZE, 128);
  let random = u64(seed);
  for (let cpu: u32 = 0; cpu < count; cpu++) {
    const state = exec_of(cpu);
    store<u32>(state, cpu, EXEC_CPU);
    // Nothing of ours lies within a page of a stack: a program that strays a little harms nobody.
    const end = alloc(STACK_BYTES + 2 * STACK_GAP, 64) + STACK_GAP + STACK_BYTES;
    store<u32>(state, end, EXEC_STACK_END);
    store<u32>(state, end - STACK_SIZE, EXEC_STACK);
    random += (u64(0x9e3779b9) << 32) | 0x7f4a7c15;
    store<u64>(state, mix(random) | 1, EXEC_RANDOM);
  }
  store<u32>(CORE_CPUS, cpus);
  store<u32>(CORE_STATES, states);
  store<u64>(CORE_SEED, mix(random + ((u64(0x9e3779b9) << 32) | 0x7f4a7c15)));
  join(0);
}

/** For an instance of the core over a memory that another one has initialised: it runs programs on this CPU. */
export function join(cpu: u32): void {
  cpus = load<u32>(CORE_CPUS);
  states = load<u32>(CORE_STATES);
  setHashSeed(load<u64>(CORE_SEED));
  exec = exec_of(cpu);
}

export function exec_of(cpu: u32): u32 {
  return states + cpu * EXEC_SIZE;
}

/** Stops a compiled program: notes why, and traps. */
export function fault(code: i32, address: u32): void {
  setFault(exec, code, address);
  unreachable();
}

export function setFault(state: u32, code: i32, address: u32): void {
  store<i32>(state, code, EXEC_FAULT);
  store<u32>(state, address, EXEC_FAULT_ADDRESS);
}

/** The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the seed reaches every bit of the result. */
function mix(value: u64): u64 {
  value = (value ^ (value >> 30)) * ((u64(0xbf58476d) << 32) | 0x1ce4e5b9);
  value = (value ^ (value >> 27)) * ((u64(0x94d049bb) << 32) | 0x133111eb);
  return value ^ (value >> 31);
}

/** The CPU of the run under way. */
export function exec_cpu(): u32 {
  return load<u32>(exec, EXEC_CPU);
}
