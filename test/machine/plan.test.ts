/** What a loader says when it loads: targets of programs. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { kernelTypes } from "./kernel-types.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/objects.bpf.o")), { name: "objects.bpf.o" });

describe("targets that a loader names", () => {
  it("are what arguments are looked up by", async (context) => {
    if (kernelTypes === undefined) return context.skip("the kernel shows no types");
    const machine = await Machine.create({ btf: kernelTypes });
    const options = { programs: ["probed"], unverified: "trusted" } as const;
    const own = await machine.load(spec, options);
    expect(() => own.programs["probed"]!.run({ args: { inode: 1 } })).toThrow(/no argument 'inode'/);
    const { programs } = await machine.load(spec, { ...options, attachTo: { probed: "vfs_unlink" } });
    expect(programs["probed"]!.image.attachTo).toBe("vfs_unlink");
    expect(programs["probed"]!.run({ args: { dentry: 5 } }).returnValue).toBe(0);
  });

  it("must be of programs that there are", async () => {
    const machine = await Machine.create();
    await expect(machine.load(spec, { attachTo: { nope: "vfs_open" } })).rejects.toThrow(
      /objects\.bpf\.o: attachTo: no program 'nope'; it has /,
    );
  });
});
