/** Objects of modelled runs, and the lists and trees that they are in. */
import { type Region, Unsound } from "./memory.ts";
import type { ModelRun } from "./run.ts";

const EINVAL = -22;

export function release(region: Region | undefined, what: string): Region {
  if (region === undefined || region.held <= 0) throw new Unsound(`${what}: the program does not hold it`);
  region.held--;
  return region;
}

/** The object, given back for good if nothing refers to it any more. */
export function drop(region: Region): void {
  if (region.held === 0 && region.root === undefined && region.stored !== true && region.kind === "object")
    region.alive = false;
}

/** An object that a pointer into it belongs to. */
export function objectAt(run: ModelRun, address: bigint): Region {
  const region = run.memory.find(address);
  if (region?.kind !== "object" || !region.alive) throw new Unsound("no object at this place");
  return region;
}

export function graph(run: ModelRun, root: bigint): Region[] {
  const { region } = run.memory.at(root, 16, "root");
  if (![...run.locks.values()].includes(region)) throw new Unsound("a list or tree is used without its lock");
  const known = run.graphs.get(root) ?? [];
  run.graphs.set(root, known);
  return known;
}

/** Offset of the list's or tree's part of an object, by its root. */
const parts = new WeakMap<Region[], bigint>();

export function insert(
  run: ModelRun,
  root: bigint,
  node: bigint,
  put: (list: Region[], object: Region) => void,
): number {
  const list = graph(run, root);
  const object = release(objectAt(run, node), "an object that goes into a list or tree");
  parts.set(list, node - object.base);
  if (object.root !== undefined) {
    // It is in one already: the reference is given back.
    drop(object);
    return EINVAL;
  }
  object.root = run.memory.at(root, 16, "root").region;
  put(list, object);
  return 0;
}

export function remove(run: ModelRun, root: bigint, object: Region | undefined): bigint {
  if (object === undefined) return 0n;
  const list = graph(run, root);
  list.splice(list.indexOf(object), 1);
  object.root = undefined;
  object.held++;
  return object.base + (parts.get(list) ?? 0n);
}

export function borrow(run: ModelRun, root: bigint, pick: (list: Region[]) => Region | undefined): bigint {
  const list = graph(run, root);
  const object = pick(list);
  return object === undefined ? 0n : object.base + (parts.get(list) ?? 0n);
}

export function addToTree(run: ModelRun, root: bigint, node: bigint, less: bigint): number | undefined {
  const others = [...graph(run, root)];
  const part = node - objectAt(run, node).base;
  const code = insert(run, root, node, (list, object) => list.push(object));
  if (code !== 0) return code;
  const list = graph(run, root);
  const object = list.pop() as Region;
  const place = (index: number): void => {
    if (index >= others.length) {
      list.push(object);
      run.registers[0] = 0n;
      return;
    }
    run.callBack(less, [node, (others[index] as Region).base + part], (r0) => {
      if ((r0 & 0xffn) === 0n) return place(index + 1);
      list.splice(index, 0, object);
      run.registers[0] = 0n;
    });
  };
  place(0);
  return undefined;
}
