/** Sets of CPUs (kernel/bpf/cpumask.c). Bits from the machine's number of CPUs on are never seen. */
import { ERRNO } from "../../uapi/index.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import type { HostKfunc } from "./types.ts";

/** A machine has at most 1024 CPUs. */
const BYTES = 128;

const has = ({ memory }: HelperWorld, mask: number, cpu: number): boolean =>
  (((memory.u8[mask + (cpu >> 3)] as number) >> (cpu & 7)) & 1) !== 0;

function put({ memory }: HelperWorld, mask: number, cpu: number, on: boolean): void {
  const at = mask + (cpu >> 3);
  const bit = 1 << (cpu & 7);
  memory.u8[at] = on ? (memory.u8[at] as number) | bit : (memory.u8[at] as number) & ~bit;
}

/** The first CPU for which something holds, or the number of CPUs. */
function first(world: HelperWorld, test: (cpu: number) => boolean): number {
  let cpu = 0;
  while (cpu < world.cpus && !test(cpu)) cpu++;
  return cpu;
}

const every = (world: HelperWorld, test: (cpu: number) => boolean): number =>
  first(world, (cpu) => !test(cpu)) >= world.cpus ? 1 : 0;

type Combination = (a: boolean, b: boolean) => boolean;

function combine(world: HelperWorld, args: HelperArguments, combination: Combination): boolean {
  const [to, a, b] = [args.u32(1), args.u32(2), args.u32(3)];
  let any = false;
  for (let cpu = 0; cpu < world.cpus; cpu++) {
    const on = combination(has(world, a, cpu), has(world, b, cpu));
    put(world, to, cpu, on);
    any ||= on;
  }
  return any;
}

function change(world: HelperWorld, args: HelperArguments, on: boolean): number {
  const [cpu, mask] = [args.u32(1), args.u32(2)];
  if (cpu >= world.cpus) return 0;
  const before = has(world, mask, cpu);
  put(world, mask, cpu, on);
  return before ? 1 : 0;
}

function setAll(world: HelperWorld, mask: number, on: boolean): void {
  for (let cpu = 0; cpu < world.cpus; cpu++) put(world, mask, cpu, on);
}

export const CPUMASKS: readonly HostKfunc[] = [
  {
    name: "bpf_cpumask_create",
    call: ({ heap }, { exec }) => BigInt(heap.allocateKernel("bpf_cpumask", BYTES + 8, exec)),
  },
  {
    name: "bpf_cpumask_acquire",
    call({ heap }, args) {
      heap.retain(args.u32(1));
      return args.u64(1);
    },
  },
  { name: "bpf_cpumask_release", call: ({ heap }, args) => heap.release(args.u32(1)) },
  { name: "bpf_cpumask_first", call: (world, args) => first(world, (cpu) => has(world, args.u32(1), cpu)) },
  {
    name: "bpf_cpumask_first_zero",
    call: (world, args) => first(world, (cpu) => !has(world, args.u32(1), cpu)),
  },
  {
    name: "bpf_cpumask_first_and",
    call: (world, args) =>
      first(world, (cpu) => has(world, args.u32(1), cpu) && has(world, args.u32(2), cpu)),
  },
  // "Any" CPU is the first one here, so that runs can be repeated.
  {
    name: "bpf_cpumask_any_distribute",
    call: (world, args) => first(world, (cpu) => has(world, args.u32(1), cpu)),
  },
  {
    name: "bpf_cpumask_any_and_distribute",
    call: (world, args) =>
      first(world, (cpu) => has(world, args.u32(1), cpu) && has(world, args.u32(2), cpu)),
  },
  { name: "bpf_cpumask_set_cpu", call: (world, args) => void change(world, args, true) },
  { name: "bpf_cpumask_clear_cpu", call: (world, args) => void change(world, args, false) },
  {
    name: "bpf_cpumask_test_cpu",
    call: (world, args) => (args.u32(1) < world.cpus && has(world, args.u32(2), args.u32(1)) ? 1 : 0),
  },
  { name: "bpf_cpumask_test_and_set_cpu", call: (world, args) => change(world, args, true) },
  { name: "bpf_cpumask_test_and_clear_cpu", call: (world, args) => change(world, args, false) },
  { name: "bpf_cpumask_setall", call: (world, args) => setAll(world, args.u32(1), true) },
  { name: "bpf_cpumask_clear", call: (world, args) => setAll(world, args.u32(1), false) },
  { name: "bpf_cpumask_and", call: (world, args) => (combine(world, args, (a, b) => a && b) ? 1 : 0) },
  { name: "bpf_cpumask_or", call: (world, args) => void combine(world, args, (a, b) => a || b) },
  { name: "bpf_cpumask_xor", call: (world, args) => void combine(world, args, (a, b) => a !== b) },
  {
    name: "bpf_cpumask_equal",
    call: (world, args) =>
      every(world, (cpu) => has(world, args.u32(1), cpu) === has(world, args.u32(2), cpu)),
  },
  {
    name: "bpf_cpumask_intersects",
    call: (world, args) =>
      every(world, (cpu) => !(has(world, args.u32(1), cpu) && has(world, args.u32(2), cpu))) === 1 ? 0 : 1,
  },
  {
    name: "bpf_cpumask_subset",
    call: (world, args) =>
      every(world, (cpu) => !has(world, args.u32(1), cpu) || has(world, args.u32(2), cpu)),
  },
  { name: "bpf_cpumask_empty", call: (world, args) => every(world, (cpu) => !has(world, args.u32(1), cpu)) },
  { name: "bpf_cpumask_full", call: (world, args) => every(world, (cpu) => has(world, args.u32(1), cpu)) },
  {
    name: "bpf_cpumask_copy",
    call(world, args) {
      for (let cpu = 0; cpu < world.cpus; cpu++) put(world, args.u32(1), cpu, has(world, args.u32(2), cpu));
    },
  },
  {
    name: "bpf_cpumask_weight",
    call: (world, args) =>
      Array.from({ length: world.cpus }, (_, cpu) => cpu).filter((cpu) => has(world, args.u32(1), cpu))
        .length,
  },
  {
    name: "bpf_cpumask_populate",
    call(world, args) {
      const [mask, from, size] = [args.u32(1), args.u32(2), args.u32(3)];
      if (size < Math.ceil(world.cpus / 64) * 8) return -ERRNO.EACCES;
      world.memory.u8.fill(0, mask, mask + BYTES);
      for (let cpu = 0; cpu < world.cpus; cpu++) put(world, mask, cpu, has(world, from, cpu));
      return 0;
    },
  },
];
