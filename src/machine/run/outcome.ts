/** What a run of a type without packets leaves, as one object whose costly parts are made when they are asked for. */
import { type Hook, decodeContext } from "../../hooks/index.ts";
import type { EventResult } from "./input.ts";

const NOTHING = new Uint8Array(0);

/** What is known when the run is over. */
export interface OutcomeParts<S> {
  readonly hook: Hook;
  readonly r0: bigint;
  readonly returnName: string;
  readonly packet: Uint8Array | undefined;
  readonly durationNs: number;
  readonly safety: S;
  /** The context's bytes after the run. */
  readonly context: () => Uint8Array;
  readonly extra: EventResult | undefined;
}

/**
 * A class, since an object literal with getters costs V8 more than most programs run. Decoding a probe's registers takes longer than its run, so
 * the context is decoded when it is asked for.
 */
export class Outcome<S, T> {
  readonly r0: bigint;
  readonly returnValue: number;
  readonly returnName: string;
  readonly packet: Uint8Array;
  readonly metadata: Uint8Array = NOTHING;
  readonly redirect = undefined;
  readonly durationNs: number;
  readonly safety: S;
  readonly verified: boolean;
  readonly #hook: Hook;
  readonly #bytes: () => Uint8Array;
  readonly #socketAt: (address: number) => T;
  #fields: ReturnType<typeof decodeContext> | undefined;

  constructor(parts: OutcomeParts<S>, socketAt: (address: number) => T) {
    const { hook, r0, packet } = parts;
    this.r0 = r0;
    const word = Number(BigInt.asUintN(32, r0));
    this.returnValue = hook.signed ? word | 0 : word;
    this.returnName = parts.returnName;
    this.packet = packet ?? NOTHING;
    this.durationNs = parts.durationNs;
    this.safety = parts.safety;
    this.verified = (parts.safety as unknown) === "verified";
    this.#hook = hook;
    this.#bytes = parts.context;
    this.#socketAt = socketAt;
    if (parts.extra !== undefined) Object.assign(this, parts.extra);
  }

  get context(): ReturnType<typeof decodeContext> {
    this.#fields ??= decodeContext(this.#hook, this.#bytes());
    return this.#fields;
  }

  get socket(): T {
    return this.#socketAt(Number(this.context["sk"] ?? 0));
  }
}
