import { expect, it } from "vitest";
import { existsSync } from "node:fs";
import { compareAnswers } from "../verify-diff/compare.ts";
import { KernelSide } from "../verify-diff/kernel-side.ts";
import { ourAnswer } from "../verify-diff/our-side.ts";
import { subjectsOf } from "../verify-diff/subject.ts";
import { noKernel } from "../kernel/setup.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const OBJECT = "test/fixtures/kernel-objects.bpf.o";

it.skipIf(noKernel !== undefined)(
  "judges locks, lists, trees, kernel pointers, timers, exceptions and iterators as the kernel does",
  async () => {
    if (!existsSync(VMLINUX)) return;
    const kernel = new KernelSide();
    const asExpected: string[] = [];
    const different: string[] = [];
    try {
      for (const subject of subjectsOf(OBJECT)) {
        if ("reason" in subject) throw new Error(`${subject.name}: ${subject.reason}`);
        const theirs = await kernel.answer(subject);
        if ("unasked" in theirs) throw new Error(`${subject.name}: ${theirs.unasked}`);
        const ours = ourAnswer(subject, theirs, 20_000);
        const { verdict, line, processed, states, log } = compareAnswers(ours, theirs);
        if (!(verdict && line && processed && states && log)) {
          different.push(`${subject.name}: ${ours.line}; kernel: ${theirs.line}`);
        }
        if (theirs.accepted !== subject.name.startsWith("bad_")) asExpected.push(subject.name);
      }
    } finally {
      kernel.close();
    }
    expect(different).toEqual([]);
    expect(asExpected.length).toBe(24);
  },
);
