/** Processes and files, as the tools of test/fixtures/tools see them: what they print is derived from their sources by hand. */
import { describe, expect, it } from "vitest";
import { load, tool, variants } from "./setup.ts";

const PROCESS = tool("process");
const FILES = tool("files");
const WORLD = {
  current: { pid: 42, tgid: 40, comm: "sh", uid: 1000, parent: 7 },
  tasks: [{ pid: 7, comm: "init" }],
};
const MS = 1_000_000n;

describe.each(variants())("processes, the kernel %s", (_, variant) => {
  it("a program starts: who, with which arguments, and how it ended", async () => {
    const { programs, events, machine, maps } = await load(PROCESS, variant, { world: WORLD });
    const { execve_enter: enter, execve_exit: exit } = programs;
    const argv = new BigUint64Array(4);
    argv.set(["ls", "-l", "a name that is longer than 15"].map((text) => BigInt(machine.user.write(text))));
    const input = { filename: "/bin/ls", argv: machine.user.write(new Uint8Array(argv.buffer)) };
    enter!.run({ fields: input });
    expect(maps["execs"]).toMatchObject({ size: 1 });
    exit!.run({ fields: { ret: 0 } });
    // Arguments that nobody can read end the list.
    enter!.run({ fields: { filename: "/x", argv: 0 } });
    exit!.run({ fields: { ret: -2 } });
    exit!.run({ fields: { ret: 0 } });
    const event = { pid: 40, ppid: 7, uid: 1000, retval: 0, args_count: 3, comm: "sh" };
    expect(events("events", "exec_event")).toEqual([
      { ...event, args: ["ls", "-l", "a name that is ", ""] },
      { ...event, retval: -2, args_count: 0, args: ["", "", "", ""] },
    ]);
    expect(maps["execs"]).toMatchObject({ size: 0 });
  });

  it("only one user's programs, if that is asked", async () => {
    const other = { world: WORLD, variables: { target_uid: 33 } };
    const { programs, changes } = await load(PROCESS, variant, other);
    programs["execve_enter"]!.run({ fields: { filename: "/x", argv: 0 } });
    expect(changes()).toEqual([]);
  });

  it("an image is replaced: the name lies behind the record", async () => {
    const { programs, events } = await load(PROCESS, variant);
    programs["process_exec"]!.run({ fields: { filename: "/usr/bin/env", pid: 5, old_pid: 6 } });
    expect(events("events", "file_event")).toEqual([{ pid: 5, old_pid: 6, filename: "/usr/bin/env" }]);
  });

  it("a process ends, its threads do not count", async () => {
    const { programs, events, machine, clock } = await load(PROCESS, variant);
    const parent = machine.alloc("task_struct", { tgid: 7 });
    const task = { pid: 9, tgid: 9, comm: "cat", real_parent: parent, start_time: clock.now() };
    clock.advance(5n * MS);
    programs["process_exit"]!.run({ args: [machine.alloc("task_struct", { ...task, exit_code: 3 << 8 })] });
    programs["process_exit"]!.run({ args: [machine.alloc("task_struct", { ...task, exit_code: 11 })] });
    programs["process_exit"]!.run({ args: [machine.alloc("task_struct", { ...task, pid: 10 })] });
    const event = { age_ns: 5n * MS, pid: 9, ppid: 7, exit_code: 3, sig: 0, comm: "cat" };
    expect(events("events", "exit_event")).toEqual([event, { ...event, exit_code: 0, sig: 11 }]);
  });

  it("processes are counted by who made them", async () => {
    const { programs, machine, maps } = await load(PROCESS, variant);
    const task = (pid: number, tgid: number) => machine.alloc("task_struct", { pid, tgid });
    const fork = (a: [number, number], b: [number, number]) =>
      programs["process_fork"]!.run({ args: [task(...a), task(...b)] });
    fork([7, 7], [8, 8]);
    fork([7, 7], [9, 7]);
    fork([9, 7], [10, 10]);
    fork([8, 8], [11, 11]);
    expect([...maps["forks"]!.entries()].sort()).toEqual([
      [7, 2n],
      [8, 1n],
    ]);
  });

  it("signals, or one of them", async () => {
    const { programs, events } = await load(PROCESS, variant, {
      world: WORLD,
      variables: { only_signal: 9 },
    });
    const fields = { sig: 9, pid: 77, comm: "victim", result: 0 };
    programs["signal_sent"]!.run({ fields });
    programs["signal_sent"]!.run({ fields: { ...fields, sig: 15 } });
    expect(events("events", "signal_event")).toEqual([
      { from: 40, to: 77, sig: 9, result: 0, from_comm: "sh", to_comm: "victim" },
    ]);
  });

  it("capabilities: granted, refused, asked silently", async () => {
    const { programs, maps } = await load(PROCESS, variant, { world: WORLD });
    const ask = (cap: number, ret: number, opts = 0): void => {
      programs["capable_enter"]!.run({ args: [0, 0, cap, opts] });
      programs["capable_exit"]!.run({ ret });
    };
    ask(21, 0);
    ask(21, -1);
    ask(21, -1);
    ask(12, 0, 2);
    expect([...maps["capabilities"]!.entries()]).toEqual([
      [
        { pid: 40, cap: 21 },
        { granted: 1, refused: 2 },
      ],
    ]);
  });

  it("somebody is killed for memory", async () => {
    const { programs, events, machine } = await load(PROCESS, variant, { world: WORLD });
    const chosen = machine.alloc("task_struct", { tgid: 99 });
    const control = machine.alloc("oom_control", { chosen, totalpages: 1024 });
    programs["oom_kill"]!.run({ args: [control, "Out of memory"] });
    expect(events("events", "oom_event")).toEqual([
      { from: 40, victim: 99, pages: 1024n, message: "Out of memory" },
    ]);
  });

  it("somebody becomes root", async () => {
    const { programs, events, machine } = await load(PROCESS, variant, { world: WORLD });
    const commit = (euid: number) =>
      programs["creds_committed"]!.run({ args: [machine.alloc("cred", { euid: { val: euid } })] });
    commit(33);
    commit(0);
    expect(events("events", "root_event")).toEqual([{ pid: 40, was: 1000, is: 0 }]);
  });

  it("a list of processes", async () => {
    const { programs, machine } = await load(PROCESS, variant);
    const init = machine.alloc("task_struct", { tgid: 1, comm: "init" });
    init.set({ real_parent: init });
    const sh = machine.alloc("task_struct", { tgid: 42, comm: "sh", real_parent: init });
    const tasks = [init, sh, null];
    for (const [index, task] of tasks.entries()) {
      programs["list_tasks"]!.run({ args: { meta: { seq: new Uint8Array(8), seq_num: index }, task } });
    }
    expect(machine.world.takeSeq()).toBe(
      "     PID     PPID COMM\n       1        1 init\n      42        1 sh\n",
    );
  });
});

describe.each(variants())("files, the kernel %s", (_, variant) => {
  it("files are opened", async () => {
    const { programs, events, clock } = await load(FILES, variant, { world: WORLD });
    const open = (filename: string | number, ret: number): void => {
      programs["open_enter"]!.run({ fields: { dfd: -100, filename, flags: 0o101 } });
      clock.advance(1500n);
      programs["open_exit"]!.run({ fields: { ret } });
    };
    open("/etc/passwd", 3);
    open(1, -14);
    programs["open_exit"]!.run({ fields: { ret: 4 } });
    const event = { duration_ns: 1500n, pid: 40, flags: 0o101, comm: "sh" };
    expect(events("events", "open_event")).toEqual([
      { ...event, ret: 3, path: "/etc/passwd" },
      { ...event, ret: -14, path: "" },
    ]);
  });

  it("only what failed, if that is asked", async () => {
    const { programs, events, maps } = await load(FILES, variant, { variables: { only_failed: true } });
    for (const ret of [3, -2]) {
      programs["open_enter"]!.run({ fields: { filename: "/x" } });
      programs["open_exit"]!.run({ fields: { ret } });
    }
    expect(events("events", "open_event")).toMatchObject([{ ret: -2, path: "/x" }]);
    expect(maps["opens"]).toMatchObject({ size: 0 });
  });

  it("calls of the file system are counted on each CPU", async () => {
    const { programs, maps } = await load(FILES, variant, { cpus: 2 });
    programs["stat_fsync"]!.run({ args: [] });
    programs["stat_open"]!.run({ cpu: 1 });
    programs["stat_open"]!.run({ cpu: 1 });
    const counts = (index: number) =>
      maps["calls"]!.lookupPerCpu(new Uint8Array(Uint32Array.of(index).buffer))!.map((bytes) => bytes[0]);
    expect([counts(2), counts(3)]).toEqual([
      [1, 0],
      [0, 2],
    ]);
  });

  it("reads and writes by file and process", async () => {
    const { programs, maps, machine } = await load(FILES, variant, { world: WORLD });
    const file = (name: string, i_ino: number, i_mode: number) =>
      machine.alloc("file", {
        f_inode: { i_ino, i_mode },
        f_path: { dentry: machine.alloc("dentry", { d_name: { name } }) },
      });
    const log = file("syslog", 11, 0o100644);
    const socket = file("s", 12, 0o140777);
    programs["top_read"]!.run({ args: [log, 0, 100, 0] });
    programs["top_read"]!.run({ args: [log, 0, 50, 0] });
    programs["top_write"]!.run({ args: [log, 0, 7] });
    programs["top_write"]!.run({ args: [socket, 0, 9] });
    expect([...maps["uses"]!.entries()].map(([, value]) => value)).toEqual(
      expect.arrayContaining([
        { reads: 2n, read_bytes: 150n, writes: 1n, write_bytes: 7n, name: "syslog", type: 82 },
        { reads: 0n, read_bytes: 0n, writes: 1n, write_bytes: 9n, name: "s", type: 83 },
      ]),
    );
  });

  it("files that live shortly", async () => {
    const { programs, events, clock, machine } = await load(FILES, variant, { world: WORLD });
    const dentry = machine.alloc("dentry", { d_name: { name: "tmp.1" } });
    programs["file_created"]!.run({ args: [0, 0, dentry] });
    clock.advance(3n * MS);
    // Refused, removed, and one that was there before.
    programs["file_removed"]!.run({ args: [0, 0, dentry, 0], ret: -1 });
    programs["file_removed"]!.run({ args: [0, 0, dentry, 0], ret: 0 });
    programs["file_removed"]!.run({ args: [0, 0, machine.alloc("dentry"), 0], ret: 0 });
    expect(events("events", "life_event")).toEqual([{ age_ns: 3n * MS, pid: 40, name: "tmp.1" }]);
  });

  it("slow reads", async () => {
    const { programs, events, clock, machine } = await load(FILES, variant, { variables: { slow_ns: 1000 } });
    const folder = machine.alloc("dentry", { d_name: { name: "log" } });
    const dentry = machine.alloc("dentry", { d_name: { name: "big" }, d_parent: folder });
    const ki_filp = machine.alloc("file", { f_path: { dentry } });
    const iocb = machine.alloc("kiocb", { ki_filp, ki_pos: 4096 });
    const read = (ns: bigint, ret: number): void => {
      programs["slow_enter"]!.run({ args: [iocb] });
      clock.advance(ns);
      programs["slow_exit"]!.run({ args: [iocb, 0], ret });
    };
    read(999n, 10);
    read(1000n, 20);
    read(5000n, -5);
    expect(events("events", "slow_event")).toEqual([
      { took_ns: 1000n, bytes: 20n, offset: 4096n, name: "big", parent: "log" },
    ]);
  });

  it("mounts: the system call's arguments lie in the registers of its caller", async () => {
    const { programs, events, machine } = await load(FILES, variant, { world: WORLD });
    const text = (value: string): number => machine.user.write(value);
    const args = [text("/dev/sda1"), text("/mnt"), text("ext4"), 33];
    programs["mounted"]!.run({ args });
    expect(events("events", "mount_event")).toEqual([
      { pid: 40, flags: 33, source: "/dev/sda1", target: "/mnt", type: "ext4" },
    ]);
  });

  it("sync, through a perf buffer", async () => {
    const { programs, events, clock } = await load(FILES, variant, { world: WORLD });
    clock.advance(2n * MS);
    const now = clock.now();
    programs["synced"]!.run({});
    expect(events("syncs", "sync_event")).toEqual([{ ts_us: now / 1000n, comm: "sh" }]);
  });
});
