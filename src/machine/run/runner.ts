/** Runs of the types that no packets go through: an input is laid out, the program is called once, the rest is read back. */
import { milliseconds } from "../../elapsed.ts";
import {
  CTX_END,
  CTX_HEAD,
  CTX_HEADER,
  CTX_KIND,
  CTX_LOW,
  CTX_MAC,
  CTX_NET,
  CTX_RIGHTS,
  CTX_SIZE,
  KIND_NONE,
  KIND_SKB_LINK,
} from "../../core/layout.ts";
import { type Hook, contextRights } from "../../hooks/index.ts";
import type { ProgramType } from "../../uapi/index.ts";
import type { LinearMemory } from "../memory.ts";
import type { Regions } from "../regions.ts";
import type { SysctlState } from "./cgroup.ts";
import type { ChosenSocket, EventInput, EventResult, RemoteEvent } from "./input.ts";
import { Scratch } from "./scratch.ts";
import { arrange } from "./table.ts";
import type { Arrangement, Subject } from "./types.ts";

/** A message of sk_msg. It lies in one piece, but programs see no more of it than the kernel's pieces would show them. */
export interface Message {
  start: number;
  length: number;
  /** Lengths of the pieces. */
  pieces: number[];
  /** The same bytes, changed: puts them into fresh memory, where they stay for the run. */
  replace(bytes: Uint8Array): number;
  /** As it was before the run. */
  reset(): void;
}

/** What the run under way is about, for helpers that ask. */
export interface RunState {
  sysctl?: SysctlState | undefined;
  /** Address of the context. */
  context?: number | undefined;
  /** Whether the run is at the return of a traced function; undefined if none is traced. */
  returns?: boolean | undefined;
  /** Words of arguments that a traced call has. */
  arguments?: number | undefined;
  cookie?: number | bigint | undefined;
  /** Where registers have the result of a function. */
  returnAt?: number | undefined;
  /** What bpf_override_return lets the function return. */
  overridden?: bigint | undefined;
  /** What bpf_set_retval has set. */
  retval?: number | undefined;
  /** What a perf event has counted. */
  sample?: EventInput["sample"];
  applyBytes?: number | undefined;
  corkBytes?: number | undefined;
  message?: Message | undefined;
  /** A packet that the context shows as struct sk_buff, and the struct __sk_buff that stands for it where helpers are given it. */
  packet?: { readonly skb: number; readonly context: number } | undefined;
  /** Where bpf_sk_redirect_map and its kin have sent a message. */
  toSocket?: (ChosenSocket & { readonly ingress: boolean }) | undefined;
  /** What bpf_sk_select_reuseport has chosen. */
  selected?: ChosenSocket | undefined;
  /** Bytes of a TCP header that options may still take. */
  optionRoom?: number | undefined;
  /** The address that bpf_bind has given the socket. */
  bound?: string | undefined;
  /** The name that bpf_sock_addr_set_sun_path has given. */
  unixPath?: Uint8Array | undefined;
  /** bpf_sock_ops_enable_tx_tstamp has asked for time stamps. */
  stamped?: boolean | undefined;
  remote?: RemoteEvent[] | undefined;
}

export interface EventRun {
  readonly r0: bigint;
  /** The context's bytes after the run. */
  readonly context: () => Uint8Array;
  readonly durationNs: number;
  readonly extra: EventResult | undefined;
}

/** An input that lies in memory, for a program to be run on it. */
export interface OpenEvent {
  /** Of the context: r1. */
  readonly address: number;
  /** Puts the context's bytes there (again). */
  reset(): void;
  /** What the run has left. */
  finish(r0: bigint, durationNs: number): EventRun;
  /** Frees what was laid out beside the context. */
  release(): void;
}

/** With what helpers have noted in the course of the run. */
function noted(state: RunState, result: EventResult | undefined): EventResult | undefined {
  const { overridden, retval, applyBytes, corkBytes, remote, bound, toSocket, selected } = state;
  const some = overridden ?? retval ?? applyBytes ?? corkBytes ?? remote ?? bound ?? toSocket ?? selected;
  if (some === undefined) return result;
  return {
    ...result,
    ...(overridden === undefined ? {} : { overridden }),
    ...(retval === undefined ? {} : { retval }),
    ...(applyBytes === undefined ? {} : { applyBytes }),
    ...(corkBytes === undefined ? {} : { corkBytes }),
    ...(remote === undefined ? {} : { remote }),
    ...(bound === undefined ? {} : { bound }),
    ...(toSocket === undefined ? {} : { toSocket }),
    ...(selected === undefined ? {} : { selected }),
  };
}

function forget(state: RunState): void {
  state.overridden = undefined;
  state.retval = undefined;
  state.applyBytes = undefined;
  state.corkBytes = undefined;
  state.remote = undefined;
  state.bound = undefined;
  state.unixPath = undefined;
  state.stamped = undefined;
  state.toSocket = undefined;
  state.selected = undefined;
  state.optionRoom = undefined;
  state.message?.reset();
}

/** Types of programs that run where functions begin and return. */
const TRACED: readonly ProgramType[] = ["kprobe", "tracing"];

/** Larger contexts are copied. */
const WORDS_LIMIT = 512;

/** Contexts of events in one machine's memory: the buffer grows as contexts ask for it and is used again. */
export class EventRunner {
  /** What inputs of this machine are laid out with. */
  readonly means: Pick<Subject, "scratch" | "state">;
  readonly #memory: LinearMemory;
  readonly #regions: Pick<Regions, "add" | "remove">;
  /** What the rights behind the context are for. */
  #rightsOf: { readonly hook: Hook; readonly size: number } | undefined;
  #view: DataView | undefined;
  #viewBytes: Uint8Array = new Uint8Array(0);
  #buffer = 0;
  #room = -1;

  constructor(memory: LinearMemory, regions: Pick<Regions, "add" | "remove">) {
    this.#memory = memory;
    this.#regions = regions;
    this.means = { scratch: new Scratch(memory), state: {} };
  }

  /** `call` runs the program with an address in r1; each of `repeat` runs begins with the same context. */
  run(subject: Subject, input: EventInput, repeat: number, call: (r1: number) => bigint): EventRun {
    const { state } = this.means;
    try {
      const { arrangement, address, bytes } = this.#lay(subject, input);
      let r0 = 0n;
      let spent = 0;
      for (let round = 0; round < repeat; round++) {
        this.#reset(address, bytes);
        const start = milliseconds();
        r0 = call(address);
        spent += milliseconds() - start;
      }
      return this.#finish(state, arrangement, address, bytes.length, r0, (spent * 1e6) / repeat);
    } finally {
      this.#release();
    }
  }

  /** Lays an input out and leaves the running to the caller, who must `release` it. */
  open(subject: Subject, input: EventInput): OpenEvent {
    const { state } = this.means;
    try {
      const { arrangement, address, bytes } = this.#lay(subject, input);
      return {
        address,
        reset: () => this.#reset(address, bytes),
        finish: (r0, durationNs) => this.#finish(state, arrangement, address, bytes.length, r0, durationNs),
        release: () => this.#release(),
      };
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  #lay(
    subject: Subject,
    input: EventInput,
  ): { readonly arrangement: Arrangement; readonly address: number; readonly bytes: Uint8Array } {
    const { state } = this.means;
    if (input.cookie !== undefined) state.cookie = input.cookie;
    if (TRACED.includes(subject.type)) state.returns = input.ret !== undefined;
    if (input.sample !== undefined) state.sample = input.sample;
    const arrangement = arrange(subject, input);
    const { context } = arrangement;
    const bytes = context instanceof Uint8Array ? context : this.#bytesOf(context);
    const address = this.#contextRoom(subject.hook, bytes.length, arrangement.buffer);
    state.context = address;
    return { arrangement, address, bytes };
  }

  #reset(address: number, bytes: Uint8Array): void {
    forget(this.means.state);
    this.#memory.write(address, bytes);
  }

  #finish(
    state: RunState,
    arrangement: Arrangement,
    address: number,
    size: number,
    r0: bigint,
    durationNs: number,
  ): EventRun {
    const result = arrangement.result?.(this.#memory.read(address, size), r0);
    return { r0, context: this.#snapshot(address, size), durationNs, extra: noted(state, result) };
  }

  #release(): void {
    const { scratch, state } = this.means;
    scratch.free();
    for (const key in state) state[key as keyof RunState] = undefined;
  }

  /** Small contexts as an array of words, which costs a tenth of a buffer of bytes. */
  #snapshot(address: number, size: number): () => Uint8Array {
    if (size > WORDS_LIMIT) {
      const bytes = this.#memory.read(address, size);
      return () => bytes;
    }
    const { view } = this.#memory;
    const words: number[] = [];
    for (let at = 0; at < size; at += 4) words.push(view.getUint32(address + at, true));
    return () => new Uint8Array(Uint32Array.from(words).buffer, 0, size);
  }

  #bytesOf(view: DataView): Uint8Array {
    if (this.#view !== view) {
      this.#view = view;
      this.#viewBytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    }
    return this.#viewBytes;
  }

  /** Behind the context lie the rights to its bytes. */
  #contextRoom(hook: Hook, size: number, buffer: Arrangement["buffer"]): number {
    if (this.#room < size) {
      if (this.#buffer !== 0) {
        this.#regions.remove(this.#buffer + CTX_HEADER);
        this.#memory.free(this.#buffer);
      }
      this.#buffer = this.#memory.alloc(CTX_HEADER + 2 * size + 8, "context", 64);
      this.#room = size;
      this.#rightsOf = undefined;
      this.#regions.add({
        kind: "context",
        label: "context",
        address: this.#buffer + CTX_HEADER,
        size: Math.max(1, size),
      });
    }
    const address = this.#buffer + CTX_HEADER;
    const rights = address + this.#room + 4;
    if (this.#rightsOf?.hook !== hook || this.#rightsOf.size !== size) {
      this.#memory.write(rights, contextRights({ ...hook.context, size }));
      this.#rightsOf = { hook, size };
    }
    const set = (field: number, value: number): void => this.#memory.setU32(address + field, value);
    set(CTX_SIZE, size);
    set(CTX_RIGHTS, rights);
    set(CTX_KIND, buffer === undefined ? KIND_NONE : KIND_SKB_LINK);
    set(CTX_HEAD, buffer?.start ?? 0);
    set(CTX_END, buffer?.end ?? 0);
    set(CTX_MAC, buffer?.data ?? 0);
    set(CTX_NET, buffer?.data ?? 0);
    set(CTX_LOW, buffer?.data ?? 0);
    return address;
  }
}
