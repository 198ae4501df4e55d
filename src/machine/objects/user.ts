import { BpfError } from "../../errors.ts";
import type { LinearMemory } from "../memory.ts";
import type { ObjectValue } from "./lower.ts";
import type { KernelObject } from "./object.ts";

/**
 * The memory of the process that a program watches, as far as a test gives it one. It lies in the machine's memory like all
 * else, but only `bpf_probe_read_user` and its kin read from it; for those that read the kernel's memory nothing is there.
 */
export class UserMemory {
  readonly #memory: LinearMemory;
  /** Start and length of what was written, by start. */
  readonly #areas = new Map<number, number>();

  readonly #allocate: (type: string, value: ObjectValue) => KernelObject;

  constructor(memory: LinearMemory, allocate: (type: string, value: ObjectValue) => KernelObject) {
    this.#memory = memory;
    this.#allocate = allocate;
  }

  /**
   * Lays a structure out, as `machine.alloc` does in the kernel's memory.
   *
   * @throws BpfError code "btf" if the machine knows no such type or the value does not fit it.
   * @example
   * programs.on_connect.run({ args: { uservaddr: machine.user.alloc("sockaddr_in", { sin_family: 2 }) } });
   */
  alloc(type: string, value: ObjectValue = {}): KernelObject {
    const object = this.#allocate(type, value);
    this.#areas.set(object.address, object.size);
    return object;
  }

  /**
   * Lays out a text (with a zero byte behind it), bytes, or a number of zero bytes.
   *
   * @returns The address, to be given to the program in a register, an argument or a field.
   * @example
   * programs.on_open.run({ args: { filename: machine.user.write("/etc/passwd") } });
   */
  write(content: string | Uint8Array | number): number {
    const bytes =
      typeof content === "string"
        ? new TextEncoder().encode(`${content}\0`)
        : typeof content === "number"
          ? new Uint8Array(content)
          : content;
    const length = Math.max(1, bytes.length);
    const address = this.#memory.lend(length, "user memory", "memory", {
      writable: true,
      space: "user",
    });
    this.#memory.write(address, bytes);
    this.#areas.set(address, length);
    return address;
  }

  /**
   * A copy of what lies there.
   *
   * @throws BpfError code "memory" if that is not user memory.
   */
  read(address: number, length: number): Uint8Array {
    if (!this.has(address, length)) {
      throw new BpfError("memory", `user memory: ${length} bytes at 0x${address.toString(16)} are not in it`);
    }
    return this.#memory.read(address, length);
  }

  /** Whether all bytes of a range belong to it. */
  has(address: number, length: number): boolean {
    const known = this.#areas.get(address);
    if (known !== undefined && known >= length) return true;
    for (const [start, size] of this.#areas) {
      if (address >= start && address + length <= start + size) return true;
    }
    return false;
  }

  /** How many bytes from an address on belong to it; 0 if it does not. */
  room(address: number): number {
    for (const [start, size] of this.#areas) {
      if (address >= start && address < start + size) return start + size - address;
    }
    return 0;
  }

  /** Gives back what one `write` laid out. */
  free(address: number): void {
    if (this.#areas.delete(address)) this.#memory.takeBack(address);
  }
}
