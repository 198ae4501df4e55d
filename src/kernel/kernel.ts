import { BpfError, type ErrorLocation } from "../errors.ts";
import { explainErrno, nameOfErrno } from "./errno.ts";
import { type Libc, loadLibc } from "./libc.ts";
import {
  type FieldValue,
  type Fields,
  type Layout,
  layoutOf,
  readNumber,
  readWide,
  writeField,
} from "./struct.ts";
import { COMMANDS, type Command } from "./tables.ts";

type FieldOf<C extends Command> = keyof (typeof COMMANDS)[C]["fields"] & string;

/** The fields of a command; what is left out is 0. */
export type Request<C extends Command> = { readonly [F in FieldOf<C>]?: FieldValue | undefined };

/** What a command answered: its result or the negated errno, and the union as the kernel left it. */
export class Reply<C extends Command> {
  readonly result: number;
  readonly #layout: Layout;
  readonly #view: DataView;

  constructor(result: number, layout: Layout, view: DataView) {
    this.result = result;
    this.#layout = layout;
    this.#view = view;
  }

  /** A field that the kernel has written. */
  read(field: FieldOf<C>): number {
    return readNumber(this.#view, this.#layout.fields[field] as Layout["fields"][string]);
  }

  readWide(field: FieldOf<C>): bigint {
    return readWide(this.#view, this.#layout.fields[field] as Layout["fields"][string]);
  }
}

const LAYOUTS: ReadonlyMap<Command, Layout> = new Map(
  (Object.keys(COMMANDS) as Command[]).map((name) => [name, layoutOf(COMMANDS[name].fields as Fields)]),
);

/** The layout of a command's part of `union bpf_attr`. */
export function commandLayout(command: Command): Layout {
  return LAYOUTS.get(command) as Layout;
}

/**
 * The running Linux kernel, as bpf(2) shows it. It owns the file descriptors of what is made through it: disposing it
 * closes those that are still open, and so does the end of the process.
 *
 * @example
 * using kernel = await Kernel.open();
 * using map = createMap(kernel, { type: "array", keySize: 4, valueSize: 8, maxEntries: 16 });
 */
export class Kernel {
  readonly #libc: Libc;
  readonly #open = new Set<Handle>();

  private constructor(libc: Libc) {
    this.#libc = libc;
  }

  /**
   * Binds bpf(2). That a process may call it is another matter: see `probeKernel`.
   *
   * @throws BpfError code "unsupported" off Linux or without koffi.
   */
  static async open(): Promise<Kernel> {
    return new Kernel(await loadLibc());
  }

  /** One command as it is: nothing is thrown, the reply's result is negative when the kernel refuses. */
  call<C extends Command>(command: C, request: Request<C>): Reply<C> {
    const layout = commandLayout(command);
    const attr = new Uint8Array(layout.size);
    const view = new DataView(attr.buffer);
    for (const field in request) {
      const value = request[field as FieldOf<C>];
      const place = layout.fields[field];
      if (value === undefined || place === undefined) continue;
      writeField(view, place, value, (bytes) => this.address(bytes));
    }
    return new Reply<C>(this.#libc.bpf(COMMANDS[command].id, attr), layout, view);
  }

  /** The same with a prepared attribute, for callers that reuse it: the result or the negated errno. */
  callPrepared(command: Command, attr: Uint8Array): number {
    return this.#libc.bpf(COMMANDS[command].id, attr);
  }

  /** The address of bytes, 0 for none. */
  address(bytes: Uint8Array): bigint {
    // V8 keeps small typed arrays on its moving heap until their buffer is asked for.
    return bytes.byteLength === 0 || bytes.buffer.byteLength === 0 ? 0n : this.#libc.address(bytes);
  }

  /** @internal */
  adopt(handle: Handle): void {
    this.#open.add(handle);
  }

  /** @internal */
  release(handle: Handle): void {
    if (this.#open.delete(handle)) this.#libc.close(handle.fd);
  }

  /** Closes everything that is still open. */
  close(): void {
    for (const handle of this.#open) handle.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** An open object of the kernel; it lives as long as a descriptor, a pin or another object refers to it. */
export class Handle {
  readonly kernel: Kernel;
  readonly #fd: number;
  #closed = false;

  constructor(kernel: Kernel, fd: number) {
    this.kernel = kernel;
    this.#fd = fd;
    kernel.adopt(this);
  }

  /** The file descriptor. */
  get fd(): number {
    return this.#fd;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Gives up the descriptor; closing twice does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.kernel.release(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The error for a refused call; `what` names the object first: "map 'flows': the kernel refuses to create it". */
export function refusal(what: string, result: number, where: ErrorLocation = {}): BpfError {
  return new BpfError("kernel", `${what}: ${explainErrno(result)}`, { errno: nameOfErrno(result), where });
}
