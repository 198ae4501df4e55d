import { readFileSync } from "node:fs";
import { testObject } from "skep/testing";
import { beforeEach, describe, expect, it } from "vitest";

const object = readFileSync(new URL("file-policy.bpf.o", import.meta.url));
const O_RDWR = 2;

describe("file policy", () => {
  let bpf: Awaited<ReturnType<typeof testObject>>;
  /** Opens /etc/keys/NAME. */
  const open = (name: string, { flags = 0, below = "keys" } = {}) => {
    const { machine, programs } = bpf;
    const dentry = (own: string, inode: number, d_parent?: ReturnType<typeof machine.alloc>) =>
      machine.alloc("dentry", {
        d_name: { name: own },
        d_inode: { i_ino: inode },
        ...(d_parent === undefined ? {} : { d_parent }),
      });
    const root = dentry("/", 2);
    root.set({ d_parent: root });
    const folder = dentry(below, below === "keys" ? 77 : 78, dentry("etc", 5, root));
    const file = machine.alloc("file", { f_flags: flags, f_path: { dentry: dentry(name, 100, folder) } });
    return programs["file_open"]!.run({ args: [file], ret: 0 }).returnName;
  };

  beforeEach(async () => {
    bpf = await testObject(object, { world: { current: { pid: 42, uid: 1000 } } });
    bpf.maps["guarded"]!.set(77, 1000);
  });

  it("lets the owner read, and nobody write", () => {
    expect(open("id_rsa")).toBe("ALLOW");
    expect(open("id_rsa", { flags: O_RDWR })).toBe("EPERM");
  });

  it("refuses others, and says so", () => {
    bpf.machine.world.setCurrent({ pid: 43, uid: 33 });
    expect(open("id_rsa")).toBe("EACCES");
    expect(bpf.events("refusals", "refusal")).toEqual([{ pid: 43, uid: 33, error: -13, name: "id_rsa" }]);
  });

  it("leaves other folders alone", () => {
    bpf.machine.world.setCurrent({ pid: 43, uid: 33 });
    expect(open("hosts", { below: "network", flags: O_RDWR })).toBe("ALLOW");
    expect(bpf.events("refusals")).toEqual([]);
  });

  it("does not overrule another module", () => {
    const file = bpf.machine.alloc("file");
    expect(bpf.programs["file_open"]!.run({ args: [file], ret: -1 }).returnName).toBe("EPERM");
  });
});
