import { readFileSync } from "node:fs";
import { testObject } from "skep/testing";
import { describe, expect, it } from "vitest";

const object = readFileSync(new URL("exec-watch.bpf.o", import.meta.url));
const WORLD = {
  tasks: [{ pid: 7, comm: "bash" }],
  current: { pid: 42, uid: 1000, comm: "ls", parent: 7 },
};

type Bpf = Awaited<ReturnType<typeof testObject>>;

/** execve(argv[0], argv): the texts lie in the memory of the process, and so do their addresses. */
function execve({ programs, machine }: Bpf, argv: readonly string[], ret = 0): void {
  const pointers = BigUint64Array.from([...argv.map((text) => BigInt(machine.user.write(text))), 0n]);
  const list = machine.user.write(new Uint8Array(pointers.buffer));
  programs["on_execve"]!.run({ fields: { filename: argv[0] ?? "", argv: list } });
  programs["on_execve_done"]!.run({ fields: { ret } });
}

describe("exec watch", () => {
  it("tells who starts what, and on whose behalf", async () => {
    const bpf = await testObject(object, { world: WORLD });
    execve(bpf, ["/bin/ls", "-l", "/tmp"]);
    expect(bpf.events("events", "exec")).toEqual([
      {
        pid: 42,
        uid: 1000,
        parent: 7,
        count: 3,
        comm: "ls",
        parent_comm: "bash",
        args: ["/bin/ls", "-l", "/tmp", "", "", ""],
      },
    ]);
  });

  it("cuts long arguments and long lists", async () => {
    const bpf = await testObject(object, { world: WORLD });
    execve(bpf, ["a".repeat(100), "1", "2", "3", "4", "5", "6", "7"]);
    expect(bpf.events("events", "exec")).toMatchObject([
      { count: 6, args: ["a".repeat(31), "1", "2", "3", "4", "5"] },
    ]);
  });

  it("says nothing of what failed, and forgets it", async () => {
    const bpf = await testObject(object, { world: WORLD });
    execve(bpf, ["/no/such"], -2);
    expect(bpf.events("events", "exec")).toEqual([]);
    expect(bpf.maps["starting"]!.size).toBe(0);
  });
});
