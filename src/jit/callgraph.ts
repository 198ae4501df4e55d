/** Who calls whom: the order in which functions are analysed, and whether calls might be nested too deep. */
import { MAX_FRAMES } from "../core/layout.ts";
import type { Step } from "./steps.ts";

export interface CallGraph {
  /** All functions, called ones before their callers as far as there is no recursion. */
  readonly order: readonly number[];
  /** Whether more than MAX_FRAMES frames could be needed, starting from any function. */
  readonly mayBeTooDeep: boolean;
  /** Which functions others call by name. */
  readonly isCalled: readonly boolean[];
}

/** `stepsOf[n]` are the steps of function n. Time is linear in them. */
export function buildCallGraph(stepsOf: readonly (readonly Step[])[]): CallGraph {
  const callees = stepsOf.map((steps) => {
    const found = new Set<number>();
    for (const step of steps) if (step.kind === "local") found.add(step.target);
    return [...found];
  });
  const isCalled = stepsOf.map(() => false);
  for (const list of callees) for (const callee of list) isCalled[callee] = true;

  const order: number[] = [];
  // Frames that a function needs, its own included; 0 while that is being found out, undefined before.
  const frames: (number | undefined)[] = stepsOf.map(() => undefined);
  let recursive = false;
  callees.forEach((_, root) => {
    if (frames[root] !== undefined) return;
    frames[root] = 0;
    const path = [{ node: root, edge: 0 }];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const list = callees[top.node] as number[];
      const callee = list[top.edge++];
      if (callee === undefined) {
        frames[top.node] = list.reduce((most, called) => Math.max(most, 1 + (frames[called] as number)), 1);
        order.push(top.node);
        path.pop();
      } else if (frames[callee] === undefined) {
        frames[callee] = 0;
        path.push({ node: callee, edge: 0 });
      } else if (frames[callee] === 0) {
        recursive = true;
      }
    }
  });
  const deepest = frames.reduce<number>((most, count) => Math.max(most, count ?? 0), 0);
  return { order, mayBeTooDeep: recursive || deepest > MAX_FRAMES, isCalled };
}
