/** What the kernel tests share: whether bpf(2) answers, tiny programs, and the proof that nothing stays behind. */
import { readdirSync, readlinkSync } from "node:fs";
import { expect } from "vitest";
import { Kernel, createMap, loadProgram, objectIds, openMap, openProgram } from "../../src/kernel/index.ts";
import type { Instruction } from "../../src/isa/index.ts";

/** Why these tests cannot run here, or undefined. */
export const noKernel: string | undefined = await reasonWhyNot();

async function reasonWhyNot(): Promise<string | undefined> {
  try {
    using kernel = await Kernel.open();
    createMap(kernel, { type: "array", keySize: 4, valueSize: 8, maxEntries: 1 });
    loadProgram(kernel, { type: "xdp", instructions: returning(0) });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** A suite's name, with the reason when it is skipped. */
export function withKernel(name: string): string {
  return noKernel === undefined ? name : `${name} (skipped: ${noKernel})`;
}

export function insn(opcode: number, dst = 0, src = 0, offset = 0, imm = 0): Instruction {
  return { opcode, dst, src, offset, imm };
}

/** r0 = value; exit. */
export function returning(value: number): Instruction[] {
  return [insn(0xb7, 0, 0, 0, value), insn(0x95)];
}

/** `lddw dst, map` by descriptor. */
export function loadMap(dst: number, fd: number): Instruction[] {
  return [insn(0x18, dst, 1, 0, fd), insn(0)];
}

/** A name that only this process gives: 15 characters at most. */
export function ownName(suffix: string): string {
  return `${OWN}${suffix}`.slice(0, 15);
}

const OWN = `t${process.pid.toString(36)}_`;

/** The descriptors of BPF objects that this process holds. */
export function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const link = readlinkSync(`/proc/self/fd/${fd}`);
      return /bpf-|btf/.test(link) ? [`${fd} -> ${link}`] : [];
    } catch {
      return [];
    }
  });
}

/** No descriptor is open, and the kernel has let go of all that bears our names (it does so after a grace period). */
export async function expectNothingLeft(): Promise<void> {
  expect(openDescriptors()).toEqual([]);
  using kernel = await Kernel.open();
  let left: string[] = [];
  for (let tries = 0; tries < 50; tries++) {
    left = namesOf(kernel).filter((name) => name.startsWith(OWN));
    if (left.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(left).toEqual([]);
}

function namesOf(kernel: Kernel): string[] {
  const names: string[] = [];
  for (const [kind, open] of [
    ["map", openMap],
    ["program", openProgram],
  ] as const) {
    for (const id of objectIds(kernel, kind)) {
      try {
        using object = open(kernel, id);
        names.push(object.name);
      } catch {
        // It went away between the two calls, or it is of a type that is not ours.
      }
    }
  }
  return names;
}
