/**
 * The log of level 1 holds the path that fails: what was written for others is taken back. Writing all that text costs more than
 * verifying (three to five times as much), and nearly all of it is thrown away. So a walk whose log is of level 1 is silent and
 * only numbers its paths, each with the one that it branched from. If it fails, the program is walked again, which gives the same
 * paths, and now those are written down that lead to the failing one. Accepted programs are walked once, without a text.
 */
export class PathLog {
  /** By path: the one that it branched from; -1: it begins a function. */
  readonly #parents: number[] = [];
  /** The paths to write; undefined: all. */
  readonly #wanted: ReadonlySet<number> | undefined;

  constructor(wanted?: ReadonlySet<number>) {
    this.#wanted = wanted;
  }

  /** The path under way. */
  get current(): number {
    return this.#parents.length - 1;
  }

  /** The next path begins; returns whether it is to be written. */
  begin(parent: number): boolean {
    this.#parents.push(parent);
    return this.#wanted?.has(this.current) ?? true;
  }

  /** The path under way, and those that led to it. */
  lineage(): ReadonlySet<number> {
    const paths = new Set<number>();
    for (let path = this.current; path >= 0; path = this.#parents[path] as number) paths.add(path);
    return paths;
  }
}
