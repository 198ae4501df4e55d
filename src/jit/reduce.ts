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
const MAX_DEPTH = 16;

interface Work {
  readonly blocks: Block[];
  /** Kept up to date as edges are redirected. */
  readonly predecessors: number[][];
  /** The region that each block is in just now, by number. */
  readonly regionOf: number[];
  /** Scratch space of cyclicComponents for each block that was there from the start. */
  readonly order: Int32Array;
  readonly low: Int32Array;
}

const NO_REGION = -1;

/** A graph of the same meaning whose loops have one entry each. Its entry is new and in no loop. */
export function makeReducible(graph: readonly Block[]): Block[] {
  const work: Work = {
    blocks: [],
    predecessors: [],
    regionOf: [],
    order: new Int32Array(graph.length + 1),
    low: new Int32Array(graph.length + 1),
  };
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

const UNVISITED = -1;
/** In a component that is complete. */
const CLOSED = 0x7fffffff;

/**
 * The strongly connected components with a cycle in them, among the members of a region: Tarjan's algorithm (1972)
 * with a stack of its own.
 */
function cyclicComponents(
  { blocks, regionOf, order, low }: Work,
  members: readonly number[],
  id: number,
): number[][] {
  const components: number[][] = [];
  for (const member of members) order[member] = UNVISITED;
  let count = 0;
  const open: number[] = [];
  const path: number[] = [];
  const edges: number[] = [];
  const visit = (node: number): void => {
    order[node] = count;
    low[node] = count++;
    open.push(node);
    path.push(node);
    edges.push(0);
  };
  for (const root of members) {
    if (order[root] !== UNVISITED) continue;
    visit(root);
    while (path.length > 0) {
      const top = path.length - 1;
      const node = path[top] as number;
      const { successors } = blocks[node] as Block;
      const next = successors[(edges[top] as number)++];
      if (next !== undefined) {
        if (regionOf[next] !== id) continue;
        if (order[next] === UNVISITED) visit(next);
        else if (order[next] !== CLOSED) low[node] = Math.min(low[node] as number, order[next] as number);
        continue;
      }
      path.pop();
      edges.pop();
      const above = path[top - 1];
      if (above !== undefined) low[above] = Math.min(low[above] as number, low[node] as number);
      if (low[node] !== order[node]) continue;
      const component = open.splice(open.lastIndexOf(node));
      for (const member of component) order[member] = CLOSED;
      if (component.length > 1 || successors.includes(node)) components.push(component);
    }
  }
  return components;
}
