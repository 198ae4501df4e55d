/** Processes and control groups. */
import { BpfError } from "../../errors.ts";
import type { CgroupOptions, TaskOptions, VmaOptions } from "./options.ts";

export interface Cgroup {
  readonly path: string;
  readonly id: bigint;
  readonly parent: Cgroup | undefined;
  /** 0 for the root. */
  readonly level: number;
  classid: number;
  object: number | undefined;
}

export interface Task {
  readonly pid: number;
  readonly tgid: number;
  comm: string;
  uid: number;
  gid: number;
  cgroup: Cgroup;
  readonly parent: number | undefined;
  object: number | undefined;
  /** Undefined until a program asks for them, or given. */
  registers: number | undefined;
  stack: readonly bigint[] | undefined;
  userStack: readonly bigint[] | undefined;
  readonly namespaces: NonNullable<TaskOptions["namespaces"]>;
  readonly vmas: readonly VmaOptions[];
  readonly exe: number | undefined;
}

/** linux/sched.h TASK_COMM_LEN, with its NUL. */
const COMM_LENGTH = 16;

export class Cgroups {
  readonly #byPath = new Map<string, Cgroup>();
  readonly root: Cgroup;

  constructor() {
    this.root = { path: "/", id: 1n, parent: undefined, level: 0, classid: 0, object: undefined };
    this.#byPath.set("/", this.root);
  }

  get all(): readonly Cgroup[] {
    return [...this.#byPath.values()];
  }

  /** Parents that do not exist yet are made on the way. */
  add(options: CgroupOptions): Cgroup {
    const path = normalise(options.path);
    const known = this.#byPath.get(path);
    if (known !== undefined) {
      if (options.classid !== undefined) known.classid = options.classid;
      if (options.object !== undefined) known.object = options.object;
      if (options.id === undefined || BigInt(options.id) === known.id) return known;
      throw new BpfError("usage", `world: cgroup '${path}': it has the id ${known.id} already`);
    }
    const parent = this.add({ path: path.slice(0, path.lastIndexOf("/")) || "/" });
    const id =
      options.id === undefined
        ? this.all.reduce((most, other) => (other.id > most ? other.id : most), 0n) + 1n
        : BigInt(options.id);
    if (this.byId(id) !== undefined)
      throw new BpfError("usage", `world: cgroup '${path}': the id ${id} is taken`);
    const cgroup: Cgroup = {
      path,
      id,
      parent,
      level: parent.level + 1,
      classid: options.classid ?? 0,
      object: options.object,
    };
    this.#byPath.set(path, cgroup);
    return cgroup;
  }

  at(path: string): Cgroup | undefined {
    return this.#byPath.get(normalise(path));
  }

  byId(id: bigint): Cgroup | undefined {
    return this.all.find((cgroup) => cgroup.id === id);
  }

  byObject(address: number): Cgroup | undefined {
    return this.all.find(({ object }) => object === address);
  }
}

/** The ancestor at a level: 0 is the root, its own level itself; undefined where there is none. */
export function ancestorOf(cgroup: Cgroup, level: number): Cgroup | undefined {
  if (level < 0 || level > cgroup.level) return undefined;
  let at = cgroup;
  while (at.level > level && at.parent !== undefined) at = at.parent;
  return at;
}

function normalise(path: string): string {
  const parts = path.split("/").filter((part) => part !== "");
  return `/${parts.join("/")}`;
}

export class Tasks {
  readonly #byPid = new Map<number, Task>();
  readonly #cgroups: Cgroups;

  constructor(cgroups: Cgroups) {
    this.#cgroups = cgroups;
  }

  get all(): readonly Task[] {
    return [...this.#byPid.values()];
  }

  add(options: TaskOptions): Task {
    const { pid, tgid = pid, comm = "skep", uid = 0, gid = 0, parent, object } = options;
    for (const [name, value] of Object.entries({ pid, tgid, uid, gid })) {
      if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) continue;
      throw new BpfError("usage", `world: task ${pid}: ${name} must be a whole number, not ${value}`);
    }
    if (new TextEncoder().encode(comm).length >= COMM_LENGTH) {
      throw new BpfError(
        "usage",
        `world: task ${pid}: comm '${comm}' is longer than ${COMM_LENGTH - 1} bytes`,
      );
    }
    const task: Task = {
      pid,
      tgid,
      comm,
      uid,
      gid,
      cgroup: this.#cgroups.add({ path: options.cgroup ?? "/" }),
      parent,
      object,
      registers: options.registers,
      stack: options.stack,
      userStack: options.userStack,
      namespaces: options.namespaces ?? [],
      vmas: options.vmas ?? [],
      exe: options.exe,
    };
    this.#byPid.set(pid, task);
    return task;
  }

  byPid(pid: number): Task | undefined {
    return this.#byPid.get(pid);
  }

  byObject(address: number): Task | undefined {
    return this.all.find(({ object }) => object === address);
  }
}
