/** Members of the kernel's structures, read and written by name at an address: for functions that work on them. */
import { type Btf, resolve, sizeOf } from "../../btf/index.ts";
import { Refusal } from "../handles.ts";
import { mayRead } from "../helpers/memory.ts";
import { notInWorld, type HelperWorld } from "../helpers/types.ts";
import { KernelObject } from "../objects/index.ts";

/** A structure of the kernel's at an address, and those that it begins with: a tcp_sock is a sock too. */
export class Structure {
  readonly address: number;
  readonly #views: readonly KernelObject[];

  constructor(address: number, views: readonly KernelObject[]) {
    this.address = address;
    this.#views = views;
  }

  #of(name: string): KernelObject | undefined {
    return this.#views.find((view) => view.has(name));
  }

  /** 0 of a member that the types do not have: programs that use CO-RE declare those that they look at. */
  get(name: string): number {
    return Number(this.#of(name)?.member(name) ?? 0);
  }

  set(name: string, value: number): void {
    this.#of(name)?.set({ [name]: value });
  }

  /** Where a member lies, or undefined. */
  placeOf(name: string): number | undefined {
    const offset = this.#of(name)?.offsetOf(name);
    return offset === undefined ? undefined : this.address + offset;
  }
}

/** Deeper than sockets are in sockets. */
const MAX_DEPTH = 8;

function viewsOf({ memory }: HelperWorld, btf: Btf, id: number, address: number): KernelObject[] {
  const views: KernelObject[] = [];
  let type = resolve(btf, id);
  for (let depth = 0; depth < MAX_DEPTH && type.kind === "struct"; depth++) {
    views.push(new KernelObject(memory, btf, type.id, address, type.size, []));
    const [first] = type.members;
    if (first === undefined) break;
    type = resolve(btf, first.type);
  }
  return views;
}

/**
 * The structure of that name at an address.
 *
 * @throws BpfError code "helper" if the machine knows no such type.
 */
export function structureAt(kfunc: string, world: HelperWorld, name: string, address: number): Structure {
  for (const btf of world.types) {
    const [found] = btf.find(name, "struct");
    if (found === undefined) continue;
    // A sandboxed program may hand over what is smaller than it says.
    if (!mayRead(world.core, BigInt(address), sizeOf(btf, found.id)))
      throw new Refusal(`${kfunc}: there is no struct ${name} at 0x${address.toString(16)}`);
    return new Structure(address, viewsOf(world, btf, found.id, address));
  }
  throw notInWorld(
    kfunc.replace(/^bpf_/, ""),
    `the machine has no struct ${name}`,
    "give it the kernel's types: Machine.create({ btf })",
  );
}
