import { readFileSync } from "node:fs";
import { BpfError } from "../errors.ts";
import { roundUp } from "./struct.ts";

let possible: number | undefined;

/**
 * How many CPUs the kernel could ever have: each value of a per-CPU map has one part for each, online or not
 * (kernel/bpf/syscall.c sizes it so; the parts lie side by side without gaps).
 */
export function possibleCpus(): number {
  possible ??= countCpus(readFileSync("/sys/devices/system/cpu/possible", "latin1"));
  return possible;
}

/** The size of a list such as "0-3,8\n". */
export function countCpus(list: string): number {
  let count = 0;
  for (const range of list.trim().split(",")) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(range);
    if (match === null)
      throw new BpfError("io", `/sys/devices/system/cpu/possible: cannot read '${list.trim()}'`);
    count += Number(match[2] ?? match[1]) - Number(match[1]) + 1;
  }
  return count;
}

/** Bytes from one CPU's part of a value to the next. */
export function perCpuStride(valueSize: number): number {
  return roundUp(valueSize, 8);
}

/** A value of a per-CPU map, one part for each CPU. The parts are views. */
export function splitPerCpu(value: Uint8Array, valueSize: number): Uint8Array[] {
  const stride = perCpuStride(valueSize);
  return Array.from({ length: value.length / stride }, (_, cpu) =>
    value.subarray(cpu * stride, cpu * stride + valueSize),
  );
}

/** The inverse of {@link splitPerCpu}. */
export function joinPerCpu(parts: readonly Uint8Array[], valueSize: number): Uint8Array {
  const stride = perCpuStride(valueSize);
  const value = new Uint8Array(stride * parts.length);
  parts.forEach((part, cpu) => value.set(part.subarray(0, valueSize), cpu * stride));
  return value;
}
