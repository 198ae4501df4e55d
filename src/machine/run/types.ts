import type { Btf } from "../../btf/index.ts";
import type { Hook } from "../../hooks/index.ts";
import type { AttachType, ProgramType } from "../../uapi/index.ts";
import type { ProgramImage } from "../image.ts";
import type { EventInput, EventResult } from "./input.ts";
import type { RunState } from "./runner.ts";
import type { Scratch } from "./scratch.ts";

/** The program that is to run, and what its input is made with. */
export interface Subject {
  readonly name: string;
  readonly type: ProgramType;
  readonly hook: Hook;
  readonly attach: AttachType | undefined;
  readonly image: ProgramImage;
  /** Types to look names up in: those that the program is fitted to, then its own. */
  readonly types: readonly Btf[];
  readonly scratch: Scratch;
  readonly state: RunState;
}

/** An input laid out. */
export interface Arrangement {
  /** The context, copied behind a header into the machine's memory. */
  readonly context: Uint8Array | DataView;
  /** Of contexts that are __sk_buff: the buffer that their packet lies in, for helpers that move its ends. */
  readonly buffer?: { readonly start: number; readonly end: number; readonly data: number };
  /** What the run left, from the context's bytes after it and r0. */
  result?(context: Uint8Array, r0: bigint): EventResult;
}

/** How a type takes its input: which parts of it, and what they become. */
export interface Arranger {
  /** Keys of {@link EventInput} that mean something to the type. */
  readonly takes: readonly (keyof EventInput)[];
  arrange(subject: Subject, input: EventInput): Arrangement;
}
