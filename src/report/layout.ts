/**
 * A layered drawing of a control flow graph (Sugiyama's method). Edges that go back are turned for the layout. A block lies one layer
 * below the lowest of those it follows; an edge that skips layers gets an invisible stop in each of them. Within a layer blocks are
 * ordered by the mean place of their neighbours, downwards and upwards in turns, which removes most crossings; then they are
 * placed from left to right, each as near to its neighbours as the order lets it be.
 */

export interface LayoutNode {
  readonly id: number;
  readonly width: number;
  readonly height: number;
}

export interface LayoutEdge {
  readonly from: number;
  readonly to: number;
}

export interface Placed {
  readonly id: number;
  /** Centre. */
  readonly x: number;
  /** Upper edge. */
  readonly y: number;
}

export interface Route {
  readonly from: number;
  readonly to: number;
  /** It goes back up. */
  readonly back: boolean;
  /** From the block above to the block below, whatever way the edge goes. None lies between two of the same x. */
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly nodes: readonly Placed[];
  readonly routes: readonly Route[];
}

const GAP_X = 28;
const GAP_Y = 44;
const SWEEPS = 8;

interface Cell {
  readonly id: number;
  readonly width: number;
  readonly height: number;
  layer: number;
  order: number;
  x: number;
  readonly up: Cell[];
  readonly down: Cell[];
}

/** Edges that close a cycle, found by a depth-first walk from the first node. */
function backEdges(nodes: readonly LayoutNode[], edges: readonly LayoutEdge[]): Set<LayoutEdge> {
  const outgoing = new Map<number, LayoutEdge[]>();
  for (const edge of edges) outgoing.set(edge.from, [...(outgoing.get(edge.from) ?? []), edge]);
  const back = new Set<LayoutEdge>();
  const state = new Map<number, "open" | "done">();
  for (const { id: root } of nodes) {
    if (state.has(root)) continue;
    state.set(root, "open");
    const stack = [{ id: root, next: 0 }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const edge = outgoing.get(top.id)?.[top.next++];
      if (edge === undefined) {
        state.set(top.id, "done");
        stack.pop();
      } else if (state.get(edge.to) === "open") back.add(edge);
      else if (!state.has(edge.to)) {
        state.set(edge.to, "open");
        stack.push({ id: edge.to, next: 0 });
      }
    }
  }
  return back;
}

/** The longest way from a node without predecessors, along edges that go down. */
function assignLayers(cells: readonly Cell[], down: readonly (readonly [from: Cell, to: Cell])[]): void {
  const waiting = new Map<Cell, number>(cells.map((cell) => [cell, 0]));
  const after = new Map<Cell, Cell[]>();
  for (const [from, to] of down) {
    waiting.set(to, (waiting.get(to) ?? 0) + 1);
    after.set(from, [...(after.get(from) ?? []), to]);
  }
  const ready = cells.filter((cell) => waiting.get(cell) === 0);
  for (let cell = ready.shift(); cell !== undefined; cell = ready.shift()) {
    for (const next of after.get(cell) ?? []) {
      next.layer = Math.max(next.layer, cell.layer + 1);
      const left = (waiting.get(next) ?? 1) - 1;
      waiting.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
}

function mean(cells: readonly Cell[], value: (cell: Cell) => number, otherwise: number): number {
  return cells.length === 0 ? otherwise : cells.reduce((sum, cell) => sum + value(cell), 0) / cells.length;
}

function orderLayers(layers: readonly Cell[][]): void {
  const sort = (layer: Cell[], neighbours: (cell: Cell) => readonly Cell[]): void => {
    const keys = new Map(
      layer.map((cell) => [cell, mean(neighbours(cell), ({ order }) => order, cell.order)]),
    );
    layer.sort((first, second) => (keys.get(first) ?? 0) - (keys.get(second) ?? 0));
    for (const [order, cell] of layer.entries()) cell.order = order;
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    if (sweep % 2 === 0) for (const layer of layers) sort(layer, ({ up }) => up);
    else for (const layer of layers.toReversed()) sort(layer, ({ down }) => down);
  }
}

/** Places the cells of a layer, in order, as near as possible to where each wants to be. */
function place(layer: readonly Cell[], wanted: (cell: Cell) => number): void {
  const least = (left: Cell, right: Cell): number => (left.width + right.width) / 2 + GAP_X;
  // From the left, then from the right: the mean of both leans to neither side.
  const left: number[] = [];
  for (const [index, cell] of layer.entries()) {
    const before = layer[index - 1];
    const bound =
      before === undefined ? Number.NEGATIVE_INFINITY : (left[index - 1] as number) + least(before, cell);
    left.push(Math.max(wanted(cell), bound));
  }
  const right: number[] = [];
  for (let index = layer.length - 1; index >= 0; index--) {
    const cell = layer[index] as Cell;
    const after = layer[index + 1];
    const bound = after === undefined ? Number.POSITIVE_INFINITY : (right[0] as number) - least(cell, after);
    right.unshift(Math.min(wanted(cell), bound));
  }
  for (const [index, cell] of layer.entries())
    cell.x = ((left[index] as number) + (right[index] as number)) / 2;
}

/**
 * Lays out a graph; the first node is at the top.
 *
 * @example
 * layout([{ id: 0, width: 80, height: 20 }, { id: 1, width: 80, height: 20 }], [{ from: 0, to: 1 }]);
 */
export function layout(nodes: readonly LayoutNode[], edges: readonly LayoutEdge[]): Layout {
  const back = backEdges(nodes, edges);
  const cells = new Map<number, Cell>(
    nodes.map(({ id, width, height }) => [
      id,
      { id, width, height, layer: 0, order: 0, x: 0, up: [], down: [] },
    ]),
  );
  const turned: { edge: LayoutEdge; top: Cell; bottom: Cell }[] = [];
  for (const edge of edges) {
    const from = cells.get(edge.from);
    const to = cells.get(edge.to);
    if (from === undefined || to === undefined || from === to) continue;
    turned.push(back.has(edge) ? { edge, top: to, bottom: from } : { edge, top: from, bottom: to });
  }
  assignLayers(
    [...cells.values()],
    turned.map(({ top, bottom }) => [top, bottom]),
  );
  const layers: Cell[][] = [];
  const put = (cell: Cell): void => {
    const layer = (layers[cell.layer] ??= []);
    cell.order = layer.length;
    layer.push(cell);
  };
  for (const cell of cells.values()) put(cell);
  const chains = turned.map(({ edge, top, bottom }) => {
    const chain = [top];
    for (let layer = top.layer + 1; layer < bottom.layer; layer++) {
      const stop: Cell = { id: -1, width: 8, height: 0, layer, order: 0, x: 0, up: [], down: [] };
      put(stop);
      chain.push(stop);
    }
    chain.push(bottom);
    for (let index = 1; index < chain.length; index++) {
      const above = chain[index - 1] as Cell;
      const below = chain[index] as Cell;
      above.down.push(below);
      below.up.push(above);
    }
    return { edge, chain };
  });
  orderLayers(layers);
  for (const layer of layers)
    place(layer, ({ up, order, width }) => mean(up, ({ x }) => x, order * (width + GAP_X)));
  for (let round = 0; round < 4; round++) {
    for (const layer of layers.toReversed()) place(layer, ({ down, x }) => mean(down, (cell) => cell.x, x));
    for (const layer of layers) place(layer, ({ up, x }) => mean(up, (cell) => cell.x, x));
  }
  return finish(layers, cells, chains, back);
}

function finish(
  layers: readonly (readonly Cell[])[],
  cells: ReadonlyMap<number, Cell>,
  chains: readonly { readonly edge: LayoutEdge; readonly chain: readonly Cell[] }[],
  back: ReadonlySet<LayoutEdge>,
): Layout {
  const tops: number[] = [];
  const heights: number[] = [];
  let y = 12;
  for (const layer of layers) {
    const height = Math.max(0, ...layer.map((cell) => cell.height));
    tops.push(y);
    heights.push(height);
    y += height + GAP_Y;
  }
  const all = layers.flat();
  const least = Math.min(...all.map((cell) => cell.x - cell.width / 2));
  const most = Math.max(...all.map((cell) => cell.x + cell.width / 2));
  const shift = 12 - least;
  const top = (cell: Cell): number => tops[cell.layer] ?? 0;
  const routes = chains.map(({ edge, chain }): Route => {
    const points: (readonly [number, number])[] = [];
    const add = (x: number, y: number): void => {
      if (points.at(-1)?.[0] === x && points.at(-2)?.[0] === x) points.pop();
      points.push([x, y]);
    };
    for (const [index, cell] of chain.entries()) {
      const x = Math.round(cell.x + shift);
      if (index > 0) add(x, top(cell));
      if (index === 0) add(x, top(cell) + cell.height);
      else if (index < chain.length - 1) add(x, top(cell) + (heights[cell.layer] ?? 0));
    }
    return { from: edge.from, to: edge.to, back: back.has(edge), points };
  });
  return {
    width: Math.ceil(most - least) + 24,
    height: y - GAP_Y + 12,
    nodes: [...cells.values()].map((cell) => ({ id: cell.id, x: Math.round(cell.x + shift), y: top(cell) })),
    routes,
  };
}
