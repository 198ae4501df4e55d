/** How the tools of test/fixtures/tools are loaded: as their source declares the kernel, and as the running one is. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Btf, parseBtf } from "../../../src/btf/index.ts";
import { type ObjectSpec, parseObject } from "../../../src/object/index.ts";
import { type TestObject, type TestOptions, testObject } from "../../../src/testing/index.ts";
import { ROOT } from "../../helpers.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";

export type Variant = readonly [name: string, options: TestOptions];

/** Both engines, both ways of running what is not verified, and the kernel's types where there are any. */
export function variants(): readonly Variant[] {
  const btf: Btf | undefined = existsSync(VMLINUX)
    ? parseBtf(readFileSync(VMLINUX), { name: VMLINUX })
    : undefined;
  const own: Variant = ["as declared", { engine: "jit" }];
  const checked: Variant = ["as declared, in the sandbox", { engine: "jit", unverified: "sandbox" }];
  if (btf === undefined) return [own, checked];
  return [
    own,
    ["of the running kernel, in the sandbox, compiled", { engine: "jit", unverified: "sandbox", btf }],
    ["of the running kernel, in the sandbox", { engine: "interpreter", unverified: "sandbox", btf }],
  ];
}

export const tool = (name: string): ObjectSpec =>
  parseObject(readFileSync(join(ROOT, `test/fixtures/tools/${name}.bpf.o`)), { name: `${name}.bpf.o` });

/** An object in a machine of its own, with `variant`'s way of running it. */
export function load(spec: ObjectSpec, variant: TestOptions, options: TestOptions = {}): Promise<TestObject> {
  return testObject(spec, { ...variant, ...options });
}

/** A histogram of 27 slots of which a few are not zero. */
export function hist(filled: Readonly<Record<number, number>>): { slots: number[] } {
  const slots = Array.from({ length: 27 }, () => 0);
  for (const [slot, count] of Object.entries(filled)) slots[Number(slot)] = count;
  return { slots };
}
