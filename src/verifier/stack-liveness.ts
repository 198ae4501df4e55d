/**
 * Which stack slots may still be read (kernel/bpf/liveness.c, Linux 6.18). While paths are walked, each instruction of each
 * function instance collects the slots that it may read and those that it surely writes; a function instance is a function
 * reached through a certain chain of calls. When paths end, a backward data flow analysis makes of them what is alive before
 * each instruction:
 *
 *     live before = (live after, of all successors) without (surely written here), and (may be read here)
 *
 * Alongside, "written from here to the end of the function whatever the way" is computed by intersection; at a function's
 * first instruction it tells what a call writes in its callers' frames. Both are then handed to the call instruction of the
 * caller's instance. Kept states forget slots that are not alive, which lets more states be equal.
 *
 * Linux 6.18 keeps the mask that an instruction had before in 32 bits while it intersects (`old_must_write` of
 * commit_stack_write_marks). For slots below fp-256 the first visit's answer may then stay, though a later visit writes another
 * slot: a slot is taken for written that was not. That is Linux's verdict; proofs (`sound`) intersect all 64.
 *
 * Masks of 64 slots are two 32-bit words. An instance keeps eight words an instruction and frame: what may be read, what is
 * surely written, what is written from here on, what is alive.
 */
import type { Environment, InstructionAux, Subprogram } from "./environment.ts";
import { LEVEL2 } from "./log.ts";
import { type FunctionState, MAX_CALL_FRAMES, type VerifierState } from "./state.ts";

const READ = 0;
const WRITE = 2;
const WRITTEN = 4;
const LIVE = 6;
const WORDS = 8;

interface Instance {
  /** Call sites from the outside in, and last the function's first slot. */
  readonly callsites: readonly number[];
  /** First slots of the functions on the way. */
  readonly starts: readonly number[];
  readonly subprogram: number;
  readonly start: number;
  readonly size: number;
  updated: boolean;
  writeDropped: boolean;
  readonly frames: (Uint32Array | undefined)[];
  readonly writeSet: Uint8Array;
}

export class StackLiveness {
  readonly #env: Environment;
  readonly #instances: Map<string, Instance> = new Map();
  /** As Linux does it: see above. */
  readonly #halfRemembered: boolean;
  #current: Instance | undefined;
  /** Slots that the current instruction writes, two words a frame. */
  readonly #written: Uint32Array = new Uint32Array(MAX_CALL_FRAMES * 2);
  #writeIndex = 0;
  #query: Instance[] = [];
  #queryIndex = 0;

  constructor(env: Environment) {
    this.#env = env;
    this.#halfRemembered = env.options.sound !== true;
  }

  #lookup(callsites: readonly number[], starts: readonly number[], subprogram: number): Instance {
    const key = callsites.join();
    let instance = this.#instances.get(key);
    if (instance === undefined) {
      const { subprograms } = this.#env;
      const { start } = subprograms[subprogram] as Subprogram;
      const size = (subprograms[subprogram + 1] as Subprogram).start - start;
      instance = {
        callsites,
        starts,
        subprogram,
        start,
        size,
        updated: false,
        writeDropped: false,
        frames: new Array<Uint32Array | undefined>(callsites.length).fill(undefined),
        writeSet: new Uint8Array(size),
      };
      this.#instances.set(key, instance);
    }
    return instance;
  }

  #instanceOf(state: VerifierState, frameno: number): Instance {
    const callsites: number[] = [];
    const starts: number[] = [];
    for (let index = 0; index <= frameno; index++) {
      const { start } = this.#env.subprograms[(state.frames[index] as FunctionState).subprogno] as Subprogram;
      starts.push(start);
      callsites.push(index === frameno ? start : (state.frames[index + 1] as FunctionState).callsite);
    }
    return this.#lookup(callsites, starts, (state.frames[frameno] as FunctionState).subprogno);
  }

  /** The chain of calls has changed. */
  forgetCurrent(): void {
    this.#current = undefined;
  }

  #ensure(): Instance {
    this.#current ??= this.#instanceOf(this.#env.state, this.#env.state.frames.length - 1);
    return this.#current;
  }

  #masks(instance: Instance, frame: number): Uint32Array {
    let masks = instance.frames[frame];
    if (masks === undefined) {
      masks = new Uint32Array(instance.size * WORDS);
      instance.frames[frame] = masks;
    }
    return masks;
  }

  #read(instance: Instance, frame: number, index: number, low: number, high: number): void {
    const masks = this.#masks(instance, frame);
    const at = (index - instance.start) * WORDS;
    const oldLow = masks[at + READ] as number;
    const oldHigh = masks[at + READ + 1] as number;
    const newLow = (oldLow | low) >>> 0;
    const newHigh = (oldHigh | high) >>> 0;
    if (newLow === oldLow && newHigh === oldHigh) return;
    const liveLow = masks[at + LIVE] as number;
    const liveHigh = masks[at + LIVE + 1] as number;
    if ((newLow & ~liveLow) !== 0 || (newHigh & ~liveHigh) !== 0) instance.updated = true;
    masks[at + READ] = newLow;
    masks[at + READ + 1] = newHigh;
  }

  /** The instruction may read a slot of a frame. */
  markRead(frame: number, index: number, slot: number): void {
    const instance = this.#ensure();
    if (slot < 32) this.#read(instance, frame, index, 1 << slot, 0);
    else this.#read(instance, frame, index, 0, 1 << (slot - 32));
  }

  /** Before an instruction. */
  beginInstruction(index: number): void {
    this.#begin(this.#ensure(), index);
  }

  #begin(instance: Instance, index: number): void {
    this.#writeIndex = index;
    this.#written.fill(0, 0, instance.callsites.length * 2);
  }

  /** The instruction surely writes a whole slot of a frame. */
  markWrite(frame: number, slot: number): void {
    const at = frame * 2 + (slot < 32 ? 0 : 1);
    this.#written[at] = (this.#written[at] as number) | (1 << (slot & 31));
  }

  /** After an instruction. */
  endInstruction(): void {
    if (this.#current !== undefined) this.#commit(this.#current);
  }

  #commit(instance: Instance): void {
    const relative = this.#writeIndex - instance.start;
    const seen = instance.writeSet[relative] === 1;
    for (let frame = 0; frame < instance.callsites.length; frame++) {
      let low = this.#written[frame * 2] as number;
      let high = this.#written[frame * 2 + 1] as number;
      if ((low | high) === 0 && !seen) continue;
      const masks = this.#masks(instance, frame);
      const at = relative * WORDS + WRITE;
      const oldLow = masks[at] as number;
      const oldHigh = masks[at + 1] as number;
      const knownHigh = this.#halfRemembered ? 0 : oldHigh;
      if (seen) {
        low &= oldLow;
        high &= knownHigh;
      }
      low >>>= 0;
      high >>>= 0;
      if (low !== oldLow || high !== knownHigh) {
        masks[at] = low;
        masks[at + 1] = high;
        instance.updated = true;
      }
      if ((oldLow & ~low) !== 0 || (knownHigh & ~high) !== 0) instance.writeDropped = true;
    }
    instance.writeSet[relative] = 1;
    this.#writeIndex = 0;
  }

  /** After a path ended and before its successor's states are asked: brings all instances of the current state up to date. */
  update(): void {
    this.#current = undefined;
    const { state } = this.#env;
    for (let frame = state.frames.length - 1; frame >= 0; frame--) {
      const instance = this.#instanceOf(state, frame);
      if (!instance.updated) continue;
      this.#updateInstance(instance);
      instance.updated = false;
      instance.writeDropped = false;
    }
  }

  #updateInstance(instance: Instance): void {
    const { frames, callsites, subprogram } = instance;
    if (instance.writeDropped) {
      for (const masks of frames) {
        if (masks === undefined) continue;
        for (let at = WRITTEN; at < masks.length; at += WORDS) {
          masks[at] = 0;
          masks[at + 1] = 0;
        }
      }
    }
    const { subprograms, postorder, log } = this.#env;
    const first = (subprograms[subprogram] as Subprogram).postorderStart;
    const last = (subprograms[subprogram + 1] as Subprogram).postorderStart;
    const traced = (log.level & LEVEL2) !== 0;
    let rounds = 0;
    for (let changed = true; changed; ) {
      rounds++;
      changed = false;
      for (let frame = 0; frame < callsites.length; frame++) {
        const masks = frames[frame];
        if (masks === undefined) continue;
        for (let at = first; at < last; at++) {
          if (this.#updateInstruction(instance, masks, frame, postorder[at] as number, traced))
            changed = true;
        }
      }
    }
    if (traced) log.write(`(${callsites.join()}) live stack update done in ${rounds} iterations\n`);
    if (callsites.length > 1) this.#toCaller(instance);
  }

  #updateInstruction(
    instance: Instance,
    masks: Uint32Array,
    frame: number,
    index: number,
    traced: boolean,
  ): boolean {
    const { successors } = this.#env;
    const { start } = instance;
    let next = successors[index * 2] as number;
    if (next < 0) return false;
    let afterLow = 0;
    let afterHigh = 0;
    let writtenLow = -1;
    let writtenHigh = -1;
    for (let edge = 0; edge < 2; edge++) {
      next = successors[index * 2 + edge] as number;
      if (next < 0) continue;
      const from = (next - start) * WORDS;
      afterLow |= masks[from + LIVE] as number;
      afterHigh |= masks[from + LIVE + 1] as number;
      writtenLow &= masks[from + WRITTEN] as number;
      writtenHigh &= masks[from + WRITTEN + 1] as number;
    }
    const at = (index - start) * WORDS;
    const writeLow = masks[at + WRITE] as number;
    const writeHigh = masks[at + WRITE + 1] as number;
    const readLow = masks[at + READ] as number;
    const readHigh = masks[at + READ + 1] as number;
    writtenLow = (writtenLow | writeLow) >>> 0;
    writtenHigh = (writtenHigh | writeHigh) >>> 0;
    const liveLow = ((afterLow & ~writeLow) | readLow) >>> 0;
    const liveHigh = ((afterHigh & ~writeHigh) | readHigh) >>> 0;
    const changed =
      liveLow !== masks[at + LIVE] ||
      liveHigh !== masks[at + LIVE + 1] ||
      writtenLow !== masks[at + WRITTEN] ||
      writtenHigh !== masks[at + WRITTEN + 1];
    if (!changed) return false;
    if (
      traced &&
      ((readLow | readHigh | writeLow | writeHigh) !== 0 ||
        index === start ||
        (this.#env.aux[index] as InstructionAux).prunePoint)
    ) {
      this.#logChange(instance, "live", frame, index, masks, at + LIVE, liveLow, liveHigh);
      this.#logChange(instance, "written", frame, index, masks, at + WRITTEN, writtenLow, writtenHigh);
    }
    masks[at + LIVE] = liveLow;
    masks[at + LIVE + 1] = liveHigh;
    masks[at + WRITTEN] = writtenLow;
    masks[at + WRITTEN + 1] = writtenHigh;
    return true;
  }

  #logChange(
    { callsites }: Instance,
    what: string,
    frame: number,
    index: number,
    masks: Uint32Array,
    at: number,
    low: number,
    high: number,
  ): void {
    const oldLow = masks[at] as number;
    const oldHigh = masks[at + 1] as number;
    const onesLow = low & ~oldLow;
    const onesHigh = high & ~oldHigh;
    const zerosLow = oldLow & ~low;
    const zerosHigh = oldHigh & ~high;
    if ((onesLow | onesHigh | zerosLow | zerosHigh) === 0) return;
    let text = `(${callsites.join()}) frame ${frame} insn ${index} `;
    if ((onesLow | onesHigh) !== 0) text += `+${what} ${slotsText(onesLow, onesHigh)} `;
    if ((zerosLow | zerosHigh) !== 0) text += `-${what} ${slotsText(zerosLow, zerosHigh)}`;
    this.#env.log.write(`${text}\n`);
  }

  /** Hands what a function reads and writes in its callers' frames to the call instruction. */
  #toCaller({ callsites, starts, start, frames }: Instance): void {
    const depth = callsites.length - 1;
    const outerSites = callsites.slice(0, depth);
    const callsite = outerSites[depth - 1] as number;
    const outerStart = starts[depth - 1] as number;
    outerSites[depth - 1] = outerStart;
    const outer = this.#lookup(outerSites, starts.slice(0, depth), this.#subprogramAt(outerStart));
    this.#begin(outer, callsite);
    for (let frame = 0; frame < depth; frame++) {
      const masks = frames[frame];
      if (masks === undefined) continue;
      // The masks of the function's first instruction.
      this.#written[frame * 2] = (this.#written[frame * 2] as number) | (masks[WRITTEN] as number);
      this.#written[frame * 2 + 1] =
        (this.#written[frame * 2 + 1] as number) | (masks[WRITTEN + 1] as number);
      this.#read(outer, frame, callsite, masks[LIVE] as number, masks[LIVE + 1] as number);
    }
    this.#commit(outer);
    void start;
  }

  #subprogramAt(start: number): number {
    return this.#env.subprograms.findIndex((subprogram) => subprogram.start === start);
  }

  /** Before questions about a kept state. */
  beginQuery(state: VerifierState): void {
    this.#query = state.frames.map((_, frame) => this.#instanceOf(state, frame));
    this.#queryIndex = state.index;
  }

  /** Whether a slot of a frame of the state may still be read. */
  isAlive(frame: number, slot: number): boolean {
    const inner = this.#query[this.#query.length - 1] as Instance;
    if (this.#liveBefore(inner, this.#queryIndex, frame, slot)) return true;
    for (let outer = frame; outer < this.#query.length - 1; outer++) {
      const callsite = inner.callsites[outer] as number;
      // A callback may run again after it has returned.
      const at = (this.#env.aux[callsite] as InstructionAux).callsCallback ? callsite : callsite + 1;
      if (this.#liveBefore(this.#query[outer] as Instance, at, frame, slot)) return true;
    }
    return false;
  }

  #liveBefore(instance: Instance, index: number, frame: number, slot: number): boolean {
    const masks = instance.frames[frame];
    if (masks === undefined) return false;
    const at = (index - instance.start) * WORDS + LIVE + (slot < 32 ? 0 : 1);
    return (((masks[at] as number) >>> (slot & 31)) & 1) !== 0;
  }
}

/** "-8,-24": slots of a mask by their offsets (bpf_fmt_stack_mask). */
export function slotsText(low: number, high: number): string {
  const slots: number[] = [];
  for (let slot = 0; slot < 64; slot++) {
    const word = slot < 32 ? low : high;
    if (((word >>> (slot & 31)) & 1) !== 0) slots.push(-(slot + 1) * 8);
  }
  return slots.join();
}
