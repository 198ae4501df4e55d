/** Runs in a worker of a browser: judges the programs of objects, then one that is stopped on the way. */
import type { Instruction } from "../../src/isa/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { verify, verifyObject } from "../../src/verifier/index.ts";

export interface Order {
  readonly objects: readonly (readonly number[])[];
  readonly endless: readonly Instruction[];
}

export interface Verdict {
  readonly name: string;
  readonly accepted: boolean;
  readonly errno: string | undefined;
  readonly log: string;
  readonly processed: number;
}

/** What the worker tells the page, in this order. */
export type Told =
  | { readonly kind: "verdicts"; readonly verdicts: readonly Verdict[] }
  | { readonly kind: "progress"; readonly processed: number }
  | {
      readonly kind: "end";
      readonly cancelled: boolean;
      readonly accepted: boolean;
      readonly processed: number;
    };

/** Of a worker's globals; Node.js, where the test takes `judge` from here, has neither. */
interface WorkerScope {
  readonly postMessage: (message: Told) => void;
  readonly addEventListener?: (
    type: "message",
    listener: (event: { readonly data: { readonly order: Order; readonly stop: Int32Array } }) => void,
  ) => void;
}

export function judge(object: readonly number[]): Verdict[] {
  const spec = parseObject(Uint8Array.from(object));
  return Object.keys(spec.programs).map((name) => {
    const { accepted, errno, log, statistics } = verifyObject(spec, name, { logLevel: 2 });
    return { name, accepted, errno, log, processed: statistics.processedInstructions };
  });
}

/** The page says stop when it has been told of progress three times; the worker waits for that, so that the answer is always the same. */
export const ROUNDS = 3;

const { postMessage: tell, addEventListener: listen } = globalThis as unknown as WorkerScope;
listen?.("message", ({ data: { order, stop } }) => {
  tell({ kind: "verdicts", verdicts: order.objects.flatMap(judge) });
  let rounds = 0;
  const { cancelled, accepted, statistics } = verify(
    { name: "endless", type: "socket_filter", instructions: order.endless, maps: new Map(), license: "GPL" },
    {
      progress: (processed) => tell({ kind: "progress", processed }),
      cancelled: () => {
        rounds++;
        if (rounds === ROUNDS) Atomics.wait(stop, 0, 0, 20_000);
        return Atomics.load(stop, 0) === 1;
      },
    },
  );
  tell({ kind: "end", cancelled, accepted, processed: statistics.processedInstructions });
});
