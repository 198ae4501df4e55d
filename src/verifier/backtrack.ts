/** The registers and stack slots whose numbers are wanted, while precision is walked back: see `precision.ts`. */
import { MAX_CALL_FRAMES } from "./state.ts";

/** The set, for each frame (struct backtrack_state). */
export class Backtrack {
  frame = 0;
  readonly registers: Uint32Array = new Uint32Array(MAX_CALL_FRAMES);
  readonly low: Uint32Array = new Uint32Array(MAX_CALL_FRAMES);
  readonly high: Uint32Array = new Uint32Array(MAX_CALL_FRAMES);

  clear(): void {
    this.frame = 0;
    this.registers.fill(0);
    this.low.fill(0);
    this.high.fill(0);
  }

  isEmpty(): boolean {
    for (let frame = 0; frame <= this.frame; frame++) {
      if (this.registers[frame] !== 0 || this.low[frame] !== 0 || this.high[frame] !== 0) return false;
    }
    return true;
  }

  get mask(): number {
    return this.registers[this.frame] as number;
  }

  hasSlots(frame: number): boolean {
    return this.low[frame] !== 0 || this.high[frame] !== 0;
  }

  setRegister(frame: number, regno: number): void {
    this.registers[frame] = (this.registers[frame] as number) | (1 << regno);
  }

  clearRegister(frame: number, regno: number): void {
    this.registers[frame] = (this.registers[frame] as number) & ~(1 << regno);
  }

  hasRegister(frame: number, regno: number): boolean {
    return (((this.registers[frame] as number) >>> regno) & 1) !== 0;
  }

  setSlot(frame: number, slot: number): void {
    const words = slot < 32 ? this.low : this.high;
    words[frame] = (words[frame] as number) | (1 << (slot & 31));
  }

  clearSlot(frame: number, slot: number): void {
    const words = slot < 32 ? this.low : this.high;
    words[frame] = (words[frame] as number) & ~(1 << (slot & 31));
  }

  hasSlot(frame: number, slot: number): boolean {
    const word = (slot < 32 ? this.low : this.high)[frame] as number;
    return ((word >>> (slot & 31)) & 1) !== 0;
  }
}
