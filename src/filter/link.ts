/**
 * Blocks to a program. A conditional jump reaches 255 instructions, so a longer program gets helpers: copies of `ret`
 * between the blocks, where no code falls through, and behind a branch a `ja` for a far target that is no end.
 */
import { CBPF_CLASSES, type CbpfInstruction, cbpfJump, cbpfStatement } from "../cbpf/index.ts";
import type { GraphNode } from "./graph.ts";

export interface Block {
  readonly node: GraphNode;
  readonly code: readonly CbpfInstruction[];
  readonly end:
    | { readonly kind: "return"; readonly accept: boolean }
    | { readonly kind: "goto"; readonly to: GraphNode }
    | {
        readonly kind: "branch";
        readonly code: number;
        readonly k: number;
        readonly yes: GraphNode;
        readonly no: GraphNode;
      };
}

const REACH = 255;
/** How often ends are repeated in a long program: a branch then finds one within its reach. */
const REPEAT = 200;
const { jmp, ret, st } = CBPF_CLASSES;

type Item = Block | { readonly copy: boolean };

/** Which branches of a block need a `ja`. */
interface Far {
  yes: boolean;
  no: boolean;
}

export function link(emitted: readonly Block[], snaplen: number): CbpfInstruction[] {
  const items = withCopies(merge(emitted));
  const far = new Map<Block, Far>();
  for (;;) {
    const layout = place(items, far);
    if (!grow(items, far, layout)) return write(items, far, layout, snaplen);
  }
}

/**
 * Makes one of blocks that do the same, though perhaps with different values in A: behind `ld [26]` and behind `ld [30]`
 * the same comparisons can follow. The last of equals stays, as all that leads to any of them comes before it.
 */
function merge(blocks: readonly Block[]): readonly Block[] {
  const known = new Map<string, GraphNode>();
  const same = new Map<GraphNode, GraphNode>();
  const kept: Block[] = [];
  const now = (node: GraphNode): GraphNode => same.get(node) ?? node;
  for (let i = blocks.length - 1; i >= 0; i--) {
    const { node, code, end } = blocks[i] as Block;
    let moved = end;
    if (end.kind === "goto") moved = { ...end, to: now(end.to) };
    else if (end.kind === "branch") moved = branch(end, now(end.yes), now(end.no));
    const empty = moved.kind === "goto" && code.length === 0;
    if (empty && moved.kind === "goto") {
      same.set(node, moved.to);
      continue;
    }
    const key = `${code.map((each) => `${each.code},${each.jt},${each.jf},${each.k}`).join(" ")}|${endKey(moved)}`;
    const twin = known.get(key);
    if (twin !== undefined) {
      same.set(node, twin);
      continue;
    }
    known.set(key, node);
    kept.push({ node, code, end: moved });
  }
  return kept.reverse();
}

/** What is left of a branch when its ways lead to the same place: its block may still load what can fail. */
function branch(end: Extract<Block["end"], { kind: "branch" }>, yes: GraphNode, no: GraphNode): Block["end"] {
  return yes === no ? { kind: "goto", to: yes } : { ...end, yes, no };
}

function endKey(end: Block["end"]): string {
  if (end.kind === "return") return `return ${end.accept}`;
  if (end.kind === "goto") return `goto ${end.to.id}`;
  return `${end.code} ${end.k} ${end.yes.id} ${end.no.id}`;
}

function withCopies(blocks: readonly Block[]): readonly Item[] {
  const total = blocks.reduce((sum, block) => sum + block.code.length + 1, 0);
  if (total <= REACH) return blocks;
  const items: Item[] = [];
  let since = 0;
  for (const block of blocks) {
    items.push(block);
    since += block.code.length + 1;
    if (since >= REPEAT && block.end.kind === "branch") {
      items.push({ copy: true }, { copy: false });
      since = 0;
    }
  }
  return items;
}

interface Layout {
  readonly starts: ReadonlyMap<GraphNode, number>;
  /** Positions of every `ret`, for accept and reject, ascending. */
  readonly accepts: readonly number[];
  readonly rejects: readonly number[];
  readonly positions: readonly number[];
}

function size(item: Item, next: Item | undefined, far: ReadonlyMap<Block, Far>): number {
  if (!("end" in item)) return 1;
  const { end, code } = item;
  if (end.kind === "return") return code.length + 1;
  if (end.kind === "goto") {
    const falls = next !== undefined && "node" in next && next.node === end.to;
    return code.length + (falls ? 0 : 1);
  }
  const helpers = far.get(item);
  return code.length + 1 + (helpers?.yes === true ? 1 : 0) + (helpers?.no === true ? 1 : 0);
}

function place(items: readonly Item[], far: ReadonlyMap<Block, Far>): Layout {
  const starts = new Map<GraphNode, number>();
  const accepts: number[] = [];
  const rejects: number[] = [];
  const positions: number[] = [];
  let at = 0;
  for (const [index, item] of items.entries()) {
    positions.push(at);
    if ("node" in item) {
      starts.set(item.node, at);
      if (item.end.kind === "return") (item.end.accept ? accepts : rejects).push(at);
    } else {
      (item.copy ? accepts : rejects).push(at);
    }
    at += size(item, items[index + 1], far);
  }
  return { starts, accepts, rejects, positions };
}

/** The nearest place after `from` that does what a node does. */
function target(node: GraphNode, from: number, layout: Layout): number {
  if (node.kind !== "end") return layout.starts.get(node) as number;
  const ends = node.accept ? layout.accepts : layout.rejects;
  let low = 0;
  let high = ends.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ends[middle] as number) >= from) high = middle;
    else low = middle + 1;
  }
  return ends[low] as number;
}

function grow(items: readonly Item[], far: Map<Block, Far>, layout: Layout): boolean {
  let grown = false;
  for (const [index, item] of items.entries()) {
    if (!("end" in item) || item.end.kind !== "branch") continue;
    const { yes, no } = item.end;
    const after = (layout.positions[index] as number) + item.code.length + 1;
    const known = far.get(item) ?? { yes: false, no: false };
    const tooFar = (node: GraphNode): boolean => target(node, after, layout) - after > REACH;
    if (!known.yes && tooFar(yes)) {
      known.yes = true;
      grown = true;
    }
    if (!known.no && tooFar(no)) {
      known.no = true;
      grown = true;
    }
    far.set(item, known);
  }
  return grown;
}

function write(
  items: readonly Item[],
  far: ReadonlyMap<Block, Far>,
  layout: Layout,
  snaplen: number,
): CbpfInstruction[] {
  const out: CbpfInstruction[] = [];
  const end = (accept: boolean): CbpfInstruction => cbpfStatement(ret, accept ? snaplen : 0);
  const jump = (node: GraphNode): CbpfInstruction =>
    node.kind === "end" ? end(node.accept) : cbpfStatement(jmp, target(node, 0, layout) - out.length - 1);
  const cells = items.some((item) => "code" in item && item.code.some(({ code }) => (code & 7) === st));
  for (const [index, item] of items.entries()) {
    if (!("end" in item)) {
      // To Linux's check of scratch cells, what a `ret` knows of them holds for the next instruction, too, however that
      // is reached (see checkCbpf). A jump ends that, so the second of two copies jumps to the original.
      const last = layout.rejects.at(-1) as number;
      out.push(cells && !item.copy ? cbpfStatement(jmp, last - out.length - 1) : end(item.copy));
      continue;
    }
    out.push(...item.code);
    if (item.end.kind === "return") {
      out.push(end(item.end.accept));
    } else if (item.end.kind === "goto") {
      const next = items[index + 1];
      const falls = next !== undefined && "node" in next && next.node === item.end.to;
      if (!falls) out.push(jump(item.end.to));
    } else {
      const { code, k, yes, no } = item.end;
      const helpers = far.get(item) ?? { yes: false, no: false };
      const after = out.length + 1;
      const jt = helpers.yes ? 0 : target(yes, after, layout) - after;
      const jf = helpers.no ? (helpers.yes ? 1 : 0) : target(no, after, layout) - after;
      out.push(cbpfJump(code, k, jt, jf));
      if (helpers.yes) out.push(jump(yes));
      if (helpers.no) out.push(jump(no));
    }
  }
  return out;
}
