/**
 * The shape of a graph: an order in which every block comes after those that lead to it (but for loops), who dominates
 * whom, which blocks head loops, and which loop each block belongs to innermost.
 *
 * Nothing here recurses, since a function may have 65,535 instructions, and everything runs in near-linear time: a
 * hostile program must not be able to stop the compiler either. Dominators are found with the algorithm of Lengauer
 * and Tarjan (1979) in its simple form, O(m log n); the simpler iteration of Cooper, Harvey and Kennedy walks up the
 * tree for each edge and is quadratic on a long chain of early exits.
 */
import type { Block } from "./cfg.ts";

/** Adjacency lists, flattened: those of block n lie from `starts[n]` to `starts[n + 1]`. */
export interface Edges {
  readonly starts: Int32Array;
  readonly list: Int32Array;
}

export interface Shape {
  /** The blocks in reverse postorder; every index below is one into this list. The entry is 0. */
  readonly blocks: readonly Block[];
  readonly predecessors: Edges;
  /** Immediate dominator; -1 for the entry. */
  readonly idom: Int32Array;
  /** Whether an edge leads back to this block from one that it dominates. */
  readonly isHeader: Uint8Array;
  /** Header of the innermost loop around each block (a header's own loop included), or -1. */
  readonly loopOf: Int32Array;
  /** Of headers: header of the next loop around this one, or -1. */
  readonly loopParent: Int32Array;
  /** Whether every loop has one entry. If not, `loopOf` and `loopParent` mean nothing. */
  readonly reducible: boolean;
}

/** Takes the blocks over: their successors are numbered anew. */
export function shapeOf(graph: readonly Block[]): Shape {
  const blocks = reversePostorder(graph);
  const predecessors = predecessorsOf(blocks);
  const idom = dominatorsOf(blocks, predecessors);
  const isHeader = new Uint8Array(blocks.length);
  const reducible = markHeaders(blocks, idom, isHeader);
  const loopOf = new Int32Array(blocks.length).fill(-1);
  const loopParent = new Int32Array(blocks.length).fill(-1);
  if (reducible) findLoops(blocks, predecessors, isHeader, loopOf, loopParent);
  return { blocks, predecessors, idom, isHeader, loopOf, loopParent, reducible };
}

/** The reachable blocks in reverse postorder of a depth-first search, successors renumbered. */
function reversePostorder(graph: readonly Block[]): Block[] {
  const visited = new Uint8Array(graph.length);
  // Filled from its end.
  const order = new Int32Array(graph.length);
  let first = graph.length;
  const path = new Int32Array(graph.length);
  const nextEdge = new Int32Array(graph.length);
  let depth = 1;
  visited[0] = 1;
  while (depth > 0) {
    const top = depth - 1;
    const node = path[top] as number;
    const edge = nextEdge[top] as number;
    const successors = (graph[node] as Block).successors;
    if (edge < successors.length) {
      nextEdge[top] = edge + 1;
      const next = successors[edge] as number;
      if (visited[next] === 0) {
        visited[next] = 1;
        path[depth] = next;
        nextEdge[depth++] = 0;
      }
    } else {
      order[--first] = node;
      depth--;
    }
  }
  const position = new Int32Array(graph.length).fill(-1);
  const blocks = new Array<Block>(graph.length - first);
  for (let index = 0; index < blocks.length; index++) {
    const node = order[first + index] as number;
    position[node] = index;
    blocks[index] = graph[node] as Block;
  }
  for (let index = 0; index < blocks.length; index++) {
    const { successors } = blocks[index] as Block;
    for (let edge = 0; edge < successors.length; edge++) {
      successors[edge] = position[successors[edge] as number] as number;
    }
  }
  return blocks;
}

function predecessorsOf(blocks: readonly Block[]): Edges {
  const starts = new Int32Array(blocks.length + 1);
  for (const { successors } of blocks) {
    for (const next of successors) starts[next + 1] = (starts[next + 1] as number) + 1;
  }
  for (let index = 0; index < blocks.length; index++) {
    starts[index + 1] = (starts[index + 1] as number) + (starts[index] as number);
  }
  const list = new Int32Array(starts[blocks.length] as number);
  const free = starts.slice();
  blocks.forEach(({ successors }, index) => {
    for (const next of successors) {
      const at = free[next] as number;
      list[at] = index;
      free[next] = at + 1;
    }
  });
  return { starts, list };
}

function dominatorsOf(blocks: readonly Block[], { starts, list }: Edges): Int32Array {
  const count = blocks.length;
  // Blocks are numbered anew, in preorder; `vertex` leads back.
  const number = new Int32Array(count).fill(-1);
  const vertex = new Int32Array(count);
  const parent = new Int32Array(count).fill(-1);
  preorder(blocks, number, vertex, parent);

  const semi = new Int32Array(count);
  const label = new Int32Array(count);
  const ancestor = new Int32Array(count).fill(-1);
  const idom = new Int32Array(count).fill(-1);
  const bucket = new Int32Array(count).fill(-1);
  const nextInBucket = new Int32Array(count).fill(-1);
  for (let node = 0; node < count; node++) {
    semi[node] = node;
    label[node] = node;
  }

  const path: number[] = [];
  const best = (node: number): number => {
    if (ancestor[node] === -1) return node;
    // Compress the path to the root of the forest, from its top down.
    for (let at = node; ancestor[ancestor[at] as number] !== -1; at = ancestor[at] as number) path.push(at);
    while (path.length > 0) {
      const at = path.pop() as number;
      const above = ancestor[at] as number;
      if ((semi[label[above] as number] as number) < (semi[label[at] as number] as number)) {
        label[at] = label[above] as number;
      }
      ancestor[at] = ancestor[above] as number;
    }
    return label[node] as number;
  };

  for (let node = count - 1; node > 0; node--) {
    const block = vertex[node] as number;
    for (let edge = starts[block] as number; edge < (starts[block + 1] as number); edge++) {
      const via = best(number[list[edge] as number] as number);
      if ((semi[via] as number) < (semi[node] as number)) semi[node] = semi[via] as number;
    }
    const dominator = semi[node] as number;
    nextInBucket[node] = bucket[dominator] as number;
    bucket[dominator] = node;
    const above = parent[node] as number;
    ancestor[node] = above;
    for (let member = bucket[above] as number; member !== -1; member = nextInBucket[member] as number) {
      const via = best(member);
      idom[member] = (semi[via] as number) < (semi[member] as number) ? via : above;
    }
    bucket[above] = -1;
  }
  const result = new Int32Array(count).fill(-1);
  for (let node = 1; node < count; node++) {
    if (idom[node] !== semi[node]) idom[node] = idom[idom[node] as number] as number;
    result[vertex[node] as number] = vertex[idom[node] as number] as number;
  }
  return result;
}

function preorder(
  blocks: readonly Block[],
  number: Int32Array,
  vertex: Int32Array,
  parent: Int32Array,
): void {
  let count = 0;
  const path = new Int32Array(blocks.length);
  const nextEdge = new Int32Array(blocks.length);
  let depth = 1;
  number[0] = count++;
  while (depth > 0) {
    const top = depth - 1;
    const node = path[top] as number;
    const edge = nextEdge[top] as number;
    const { successors } = blocks[node] as Block;
    if (edge === successors.length) {
      depth--;
      continue;
    }
    nextEdge[top] = edge + 1;
    const next = successors[edge] as number;
    if (number[next] !== -1) continue;
    parent[count] = number[node] as number;
    vertex[count] = next;
    number[next] = count++;
    path[depth] = next;
    nextEdge[depth++] = 0;
  }
}

/** Marks the loop headers. False if some edge leads back to a block that does not dominate its source. */
function markHeaders(blocks: readonly Block[], idom: Int32Array, isHeader: Uint8Array): boolean {
  const { enter, leave } = dominatorIntervals(idom);
  let reducible = true;
  blocks.forEach(({ successors }, index) => {
    for (const next of successors) {
      if (next > index) continue;
      const dominates =
        (enter[next] as number) <= (enter[index] as number) &&
        (leave[index] as number) <= (leave[next] as number);
      if (dominates) isHeader[next] = 1;
      else reducible = false;
    }
  });
  return reducible;
}

/** When a walk over the dominator tree enters and leaves each block: nested intervals mean domination. */
function dominatorIntervals(idom: Int32Array): { enter: Int32Array; leave: Int32Array } {
  const count = idom.length;
  // Dominators come first in reverse postorder, so sizes can be summed up backwards and places dealt out forwards.
  const size = new Int32Array(count).fill(1);
  for (let node = count - 1; node > 0; node--) {
    const above = idom[node] as number;
    size[above] = (size[above] as number) + (size[node] as number);
  }
  const enter = new Int32Array(count);
  const leave = new Int32Array(count);
  const free = new Int32Array(count);
  for (let node = 0; node < count; node++) {
    const start = node === 0 ? 0 : (free[idom[node] as number] as number);
    if (node > 0) free[idom[node] as number] = start + (size[node] as number);
    enter[node] = start;
    free[node] = start + 1;
    leave[node] = start + (size[node] as number);
  }
  return { enter, leave };
}

/**
 * The natural loops, innermost first. A loop that has been found counts as one block, its header, from then on, so
 * each block is walked over once.
 */
function findLoops(
  blocks: readonly Block[],
  { starts, list }: Edges,
  isHeader: Uint8Array,
  loopOf: Int32Array,
  loopParent: Int32Array,
): void {
  const merged = new Int32Array(blocks.length);
  for (let node = 0; node < blocks.length; node++) merged[node] = node;
  const find = (node: number): number => {
    let root = node;
    while (merged[root] !== root) root = merged[root] as number;
    for (let at = node; merged[at] !== root; ) {
      const next = merged[at] as number;
      merged[at] = root;
      at = next;
    }
    return root;
  };
  const pending: number[] = [];
  const pushPredecessors = (node: number, header: number): void => {
    for (let edge = starts[node] as number; edge < (starts[node + 1] as number); edge++) {
      const before = list[edge] as number;
      // Into the header itself only edges from inside count: those that lead back.
      if (node !== header || before >= header) pending.push(before);
    }
  };
  for (let header = blocks.length - 1; header >= 0; header--) {
    if (isHeader[header] === 0) continue;
    loopOf[header] = header;
    pushPredecessors(header, header);
    while (pending.length > 0) {
      const node = find(pending.pop() as number);
      if (node === header) continue;
      if (isHeader[node] === 1) loopParent[node] = header;
      else loopOf[node] = header;
      merged[node] = header;
      pushPredecessors(node, header);
    }
  }
}
