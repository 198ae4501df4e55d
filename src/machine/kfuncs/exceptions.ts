/** bpf_throw: a program that ends at once, wherever it is, and traps that compilers put where nothing should come. */
import { BpfError } from "../../errors.ts";
import type { HostKfunc } from "./types.ts";

/** Unwinds the engines; whoever runs programs takes it for their end (machine/execution.ts). */
export class Thrown extends Error {
  /** The result of the run, unless the program has a callback for it. */
  readonly cookie: bigint;

  constructor(cookie: bigint) {
    super("bpf_throw");
    this.cookie = cookie;
  }
}

export const EXCEPTIONS: readonly HostKfunc[] = [
  {
    name: "bpf_throw",
    call(_world, args) {
      throw new Thrown(args.u64(1));
    },
  },
  {
    name: "__bpf_trap",
    call() {
      throw new BpfError(
        "helper",
        "kernel function __bpf_trap: the program has come where its compiler lets nothing come, such as the use of a variable that was never set",
      );
    },
  },
];
