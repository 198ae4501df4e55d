/**
 * Strongly connected components of the control flow graph, by Tarjan's algorithm without recursion (compute_scc). Loops are
 * components: an instruction that is alone in its component and does not jump to itself has number 0.
 */
import type { Environment, InstructionAux } from "./environment.ts";

const NOT_ON_STACK = 0xffffffff;

export function computeComponents(env: Environment): void {
  const { successors, aux } = env;
  const count = env.instructions.length;
  const order = new Uint32Array(count);
  const low = new Uint32Array(count);
  const stack: number[] = [];
  const path: number[] = [];
  let nextOrder = 1;
  let nextComponent = 1;
  for (let root = 0; root < count; root++) {
    if (order[root] !== 0) continue;
    path.push(root);
    walk: while (path.length > 0) {
      const node = path[path.length - 1] as number;
      if (order[node] === 0) {
        low[node] = nextOrder;
        order[node] = nextOrder++;
        stack.push(node);
      }
      let loops = false;
      for (let at = node * 2; at < node * 2 + 2; at++) {
        const next = successors[at] as number;
        if (next < 0) continue;
        if (order[next] === 0) {
          path.push(next);
          continue walk;
        }
        low[node] = Math.min(low[node] as number, low[next] as number);
        if (next === node) loops = true;
      }
      path.pop();
      if ((low[node] as number) < (order[node] as number)) continue;
      const assign = loops || stack[stack.length - 1] !== node;
      let member: number;
      do {
        member = stack.pop() as number;
        low[member] = NOT_ON_STACK;
        if (assign) (aux[member] as InstructionAux).component = nextComponent;
      } while (member !== node);
      if (assign) nextComponent++;
    }
  }
}
