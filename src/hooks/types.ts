import type { ProgramType } from "../uapi/index.ts";

/** A field of a context, at its offset in the uapi struct; `count` makes it an array. */
export interface ContextField {
  readonly name: string;
  readonly offset: number;
  /** Bytes of one element: 1, 2, 4 or 8. */
  readonly size: 1 | 2 | 4 | 8;
  readonly count?: number;
  /** A run's input may set it (the others are computed from the packet). */
  readonly input?: boolean;
}

/** What a program of a type is given in r1. */
export interface ContextLayout {
  /** The struct's name in uapi/linux/bpf.h. */
  readonly struct: string;
  readonly size: number;
  readonly fields: readonly ContextField[];
}

/** A return value and its name in the uapi headers. */
export interface ReturnValue {
  readonly value: number;
  readonly name: string;
}

/** What happens to the packet after a return value. */
export type Fate = "pass" | "drop";

/** A program type that can run: its context, and what its results mean. */
export interface Hook {
  readonly type: ProgramType;
  readonly title: string;
  /** KIND_ constant of core/layout.ts. */
  readonly kind: number;
  readonly context: ContextLayout;
  /** In the order in which tables show them. */
  readonly returns: readonly ReturnValue[];
  /** Whether results are read as signed 32 bits (TC_ACT_UNSPEC is -1). */
  readonly signed: boolean;
  /** What becomes of the packet. */
  fate(returnValue: number): Fate;
  /** Bit min(result, 31) is set for those results after which the packet goes on: RUN_KEEP of core/layout.ts. */
  readonly passMask: number;
  /** Link types of captures whose packets the type can take, by LINKTYPE_ value. */
  readonly linktypes: readonly number[];
  /** Bytes of free space before a packet. */
  readonly headroom: number;
  /** Bytes at the end of the packet buffer that hold no packet data (struct skb_shared_info). */
  readonly tailReserve: number;
}
