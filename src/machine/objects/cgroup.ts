/** The struct cgroup of a control group of which a test tells no more than its path. */
import { findMember } from "../../btf/index.ts";
import { ancestorOf, type Cgroup } from "../world/tasks.ts";
import { allocateObject } from "./index.ts";
import type { KernelObject } from "./object.ts";
import { type TaskMeans, fitting } from "./task.ts";

/** What stands for a group whose structure no type tells: maps and kernel functions only compare its address. */
const STAND_IN = 8;

/** Makes one and remembers it, those of its ancestors too; its address. */
export function cgroupObject(means: Omit<TaskMeans, "byPid">, cgroup: Cgroup): number {
  if (cgroup.object !== undefined) return cgroup.object;
  const { memory, types } = means;
  const label = `struct cgroup of '${cgroup.path}'`;
  let object: KernelObject | undefined;
  for (const btf of types) {
    const [type] = btf.find("cgroup", "struct");
    if (type === undefined) continue;
    const members = { level: cgroup.level, kn: { id: Number(cgroup.id) } };
    object = allocateObject(memory, [btf], "struct cgroup", fitting(btf, type.id, members), label);
    break;
  }
  const address = object?.address ?? memory.lend(STAND_IN, label, "object");
  cgroup.object = address;
  if (object !== undefined && findMember(object.btf, object.typeId, "self") !== undefined)
    object.set({ self: { cgroup: address } });
  for (let level = 0; level < cgroup.level; level++) {
    const above = ancestorOf(cgroup, level);
    if (above !== undefined) cgroupObject(means, above);
  }
  return address;
}
