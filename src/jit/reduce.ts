/**
 * Gives every loop one entry. WebAssembly has structured control flow only, so a loop that can be entered at two
 * places (`goto` into a loop, Duff's device, hand-written assembly) must get a single header first.
 *
 * The classic remedy, splitting nodes, can grow a graph exponentially. Instead each such loop gets a *dispatcher*: a
 * block that becomes its only header and goes on to one of the former entries, by a number noted in a local. All
 * edges to an entry e lead now through a tiny block that notes e's number:
 *
 *     p --> e        becomes        p --> [note e] --> dispatcher --> e
 *
 * Edges from outside and from inside the loop need blocks of their own, or those would be second entries again.
 * Loops are found as strongly connected components; without its header a component falls apart into the loops
 * within, which are treated in the same way. Only edges into entries pay, the rest of the function stays as it is.
 */
import type { Block } from "./cfg.ts";

/**
 * How deep loops are looked at one by one. In one nested deeper than that every block becomes an entry: correct
 * and slow, and the time that a hostile graph can take stays linear.
 */
const MAX_DEPTH = 64;

interface Work {
  readonly blocks: Block[];
  /** Kept up to date as edges are redirected. */
  readonly predecessors: number[][];
  /** The region that each block is in just now, by number. */
  readonly regionOf: number[];
}

const NO_REGION = -1;

/** A graph of the same meaning whose loops have one entry each. Its entry is new and in no loop. */
export function makeReducible(graph: readonly Block[]): Block[] {
  const work: Work = { blocks: [], predecessors: [], regionOf: [] };
  addBlock(work, { first: 0, end: 0, successors: [1], choice: -1, dispatches: false });
  for (const block of graph)
    addBlock(work, { ...block, successors: block.successors.map((next) => next + 1) });
  work.blocks.forEach(({ successors }, index) => {
    for (const next of successors) (work.predecessors[next] as number[]).push(index);
  });

  const { regionOf } = work;
  const regions = [{ members: Array.from(work.blocks.keys()), depth: 0 }];
  let regionCount = 0;
  for (let region = regions.pop(); region !== undefined; region = regions.pop()) {
    const depth = region.depth + 1;
    const id = regionCount++;
    for (const member of region.members) regionOf[member] = id;
    for (const component of cyclicComponents(work, region.members, id)) {
      const componentId = regionCount++;
      for (const member of component) regionOf[member] = componentId;
      const entries =
        depth <= MAX_DEPTH ? component.filter((member) => isEntered(work, member, componentId)) : component;
      if (entries.length === 1) {
        regions.push({ members: component.filter((member) => member !== entries[0]), depth });
      } else {
        addDispatcher(work, entries, componentId);
        if (entries.length < component.length) regions.push({ members: component, depth });
      }
    }
  }
  return work.blocks;
}

function addBlock({ blocks, predecessors, regionOf }: Work, block: Block): number {
  blocks.push(block);
  predecessors.push([]);
  regionOf.push(NO_REGION);
  return blocks.length - 1;
}

function isEntered({ predecessors, regionOf }: Work, member: number, id: number): boolean {
  return (predecessors[member] as number[]).some((source) => regionOf[source] !== id);
}

function addDispatcher(work: Work, entries: readonly number[], id: number): void {
  const { blocks, predecessors, regionOf } = work;
  const dispatcher = addBlock(work, {
    first: 0,
    end: 0,
    successors: [...entries],
    choice: -1,
    dispatches: true,
  });
  entries.forEach((entry, choice) => {
    const sources = predecessors[entry] as number[];
    predecessors[entry] = [dispatcher];
    for (const inside of [true, false]) {
      const side = sources.filter((source) => (regionOf[source] === id) === inside);
      if (side.length === 0) continue;
      const note = addBlock(work, {
        first: 0,
        end: 0,
        successors: [dispatcher],
        choice,
        dispatches: false,
      });
      (predecessors[dispatcher] as number[]).push(note);
      for (const source of side) {
        const block = blocks[source] as Block;
        block.successors = block.successors.map((next) => (next === entry ? note : next));
        (predecessors[note] as number[]).push(source);
      }
    }
  });
}

/**
 * The strongly connected components with a cycle in them, among the members of a region: Tarjan's algorithm (1972)
 * with a stack of its own.
 */
function cyclicComponents({ blocks, regionOf }: Work, members: readonly number[], id: number): number[][] {
  const components: number[][] = [];
  const order = new Map<number, number>();
  const low = new Map<number, number>();
  const open: number[] = [];
  const isOpen = new Set<number>();
  for (const root of members) {
    if (order.has(root)) continue;
    const path = [{ node: root, edge: 0 }];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const { node } = top;
      if (top.edge === 0) {
        order.set(node, order.size);
        low.set(node, order.get(node) as number);
        open.push(node);
        isOpen.add(node);
      }
      const { successors } = blocks[node] as Block;
      const next = successors[top.edge++];
      if (next !== undefined) {
        if (regionOf[next] !== id) continue;
        if (!order.has(next)) path.push({ node: next, edge: 0 });
        else if (isOpen.has(next))
          low.set(node, Math.min(low.get(node) as number, order.get(next) as number));
        continue;
      }
      path.pop();
      const above = path.at(-1);
      if (above !== undefined) {
        low.set(above.node, Math.min(low.get(above.node) as number, low.get(node) as number));
      }
      if (low.get(node) !== order.get(node)) continue;
      const component: number[] = [];
      let member: number;
      do {
        member = open.pop() as number;
        isOpen.delete(member);
        component.push(member);
      } while (member !== node);
      if (component.length > 1 || successors.includes(node)) components.push(component);
    }
  }
  return components;
}
