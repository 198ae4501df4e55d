/**
 * The log. Level 1 tells the path that fails, so what was written for a path that turned out well is taken back (the
 * kernel's bpf_vlog_reset); level 2 keeps everything. Positions are characters from the beginning.
 */
export const LEVEL1 = 1;
export const LEVEL2 = 2;
export const LEVEL_STATS = 4;

export class Log {
  readonly level: number;
  /** Nothing is written: what the walk says of a path that `path-log.ts` does not want. */
  muted = false;
  #pieces: string[] = [];
  #length = 0;

  constructor(level: number) {
    this.level = level;
  }

  /** Whether instructions and states are wanted. */
  get traces(): boolean {
    return !this.muted && (this.level & (LEVEL1 | LEVEL2)) !== 0;
  }

  get position(): number {
    return this.#length;
  }

  write(text: string): void {
    if (this.level === 0 || this.muted) return;
    this.#pieces.push(text);
    this.#length += text.length;
    // Few long pieces are cheaper to keep than many short ones.
    if (this.#pieces.length > 4096 && (this.level & LEVEL2) !== 0) this.#pieces = [this.#pieces.join("")];
  }

  /** Takes back what was written after a position. */
  reset(position: number): void {
    while (this.#length > position) {
      const last = this.#pieces.pop() as string;
      this.#length -= last.length;
      if (this.#length < position) {
        const keep = last.slice(0, position - this.#length);
        this.#pieces.push(keep);
        this.#length = position;
      }
    }
  }

  text(): string {
    return this.#pieces.join("");
  }
}
