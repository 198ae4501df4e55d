/** The struct task_struct of a process of which a test tells no more than its numbers and name. */
import { type Btf, findMember, resolve } from "../../btf/index.ts";
import type { LinearMemory } from "../memory.ts";
import type { Task } from "../world/tasks.ts";
import { allocateObject } from "./index.ts";
import type { KernelObject } from "./object.ts";

export type Members = { readonly [member: string]: number | string | Members };

/** What is known of a process, as the kernel's structure has it; credentials lie behind two pointers. */
function membersOf({ pid, tgid, comm, uid, gid }: Task): Members {
  const cred = { uid: { val: uid }, gid: { val: gid }, euid: { val: uid }, egid: { val: gid } };
  return { pid, tgid, comm, cred, real_cred: cred };
}

/** Without what the type has not: programs that use CO-RE declare the members that they look at, and no others. */
export function fitting(btf: Btf, id: number, members: Members): Members {
  return Object.fromEntries(
    Object.entries(members).flatMap(([name, value]): [string, Members[string]][] => {
      const member = findMember(btf, id, name);
      if (member === undefined) return [];
      if (typeof value !== "object") return [[name, value]];
      const type = resolve(btf, member.type);
      const target = type.kind === "ptr" ? resolve(btf, type.type) : type;
      return target.kind === "struct" ? [[name, fitting(btf, target.id, value)]] : [];
    }),
  );
}

/** Where processes get their structures. */
export interface TaskMeans {
  readonly memory: LinearMemory;
  readonly types: Iterable<Btf>;
  byPid(pid: number): Task | undefined;
}

/**
 * Makes one and remembers it. A process is its own leader, and its own parent, as the first one is, unless the world has another.
 *
 * @returns Its address; undefined if none of the types is a task_struct.
 */
export function taskObject(means: TaskMeans, task: Task): number | undefined {
  if (task.object !== undefined) return task.object;
  const { memory, types, byPid } = means;
  for (const btf of types) {
    const [type] = btf.find("task_struct", "struct");
    if (type === undefined) continue;
    const object = allocateObject(
      memory,
      [btf],
      "struct task_struct",
      fitting(btf, type.id, membersOf(task)),
      `struct task_struct of process ${task.pid}`,
    );
    const { address } = object;
    task.object = address;
    const related = (pid: number | undefined): number => {
      const other = pid === undefined ? undefined : byPid(pid);
      return (other === undefined ? undefined : taskObject(means, other)) ?? address;
    };
    point(object, "group_leader", related(task.tgid));
    for (const name of ["real_parent", "parent"]) point(object, name, related(task.parent));
    return address;
  }
  return undefined;
}

function point(object: KernelObject, name: string, address: number): void {
  const member = findMember(object.btf, object.typeId, name);
  if (member !== undefined && resolve(object.btf, member.type).kind === "ptr")
    object.set({ [name]: address });
}
