/**
 * What a sandboxed program gives to helpers and kernel functions that keep something in its memory, or hand out what must be
 * given back. The core checks memory, maps and contexts (contracts.ts); here stand the arguments that are handles. Each guard
 * looks at one argument before the call, and notes after it what the program then has.
 */
import {
  CTX_KIND,
  EXEC_CTX,
  EXEC_LOCK,
  EXEC_PROG,
  EXEC_REGS,
  FIELD_KIND,
  FIELD_NODE,
  FIELD_OFFSET,
  FIELD_RES_SPIN_LOCK,
  FIELD_SPIN_LOCK,
  FIELD_TARGET,
  FUNC_SIZE,
  GRANTS_COUNT,
  GRANTS_LIST,
  KIND_NONE,
  KIND_XDP,
  PROG_FUNCS_END,
  PROG_GRANTS,
  PROG_SIZE,
  RIGHT_READ,
  RIGHT_WRITE,
} from "../../core/layout.ts";
import { type Handles, Refusal } from "../handles.ts";
import { FIELD_KINDS } from "../heap.ts";
import { DYNPTR_BYTES, type Dynptr, KIND, readDynptr } from "./dynptr.ts";
import type { HelperWorld } from "./types.ts";

/** The call that is looked at. */
export interface GuardedCall {
  readonly world: HelperWorld;
  readonly handles: Handles;
  readonly exec: number;
  /** With prefix: "bpf_dynptr_read". */
  readonly name: string;
  /** r1 to r5 as they were before the call. */
  readonly registers: readonly bigint[];
}

export interface Guard {
  /** @throws Refusal for an argument that is not what it must be. */
  before?(call: GuardedCall): void;
  after?(call: GuardedCall, result: bigint): void;
}

const R10 = EXEC_REGS + 80;

export const addressIn = ({ registers }: GuardedCall, register: number): number =>
  Number((registers[register - 1] ?? 0n) & 0xffffffffn);

export function refuse(name: string, register: number, text: string): Refusal {
  return new Refusal(`${name}: argument r${register}: ${text}`);
}

const hex = (address: number): string => `0x${address.toString(16)}`;

function mayAccess({ world, exec }: GuardedCall, address: number, size: number, right: number): boolean {
  return size === 0 || world.core.may_access(address, size, right, world.memory.u32(exec + R10)) === 1;
}

/** Memory of the program's own, as the core has checked, in which something new begins. */
function checkRoom(call: GuardedCall, register: number, size: number, what: string): number {
  const address = addressIn(call, register);
  for (const at of call.handles.of(call.exec).opaque.keys()) {
    const known = call.handles.noted(call.exec, at);
    if (known === undefined || !known.keeps) continue;
    if (at < address + size && address < at + known.bytes.length)
      throw refuse(
        call.name,
        register,
        `${what} would overwrite the ${known.kind} at ${hex(at)}, which is in use`,
      );
  }
  return address;
}

/** Something that a function has put into the program's memory, as it has left it. */
function checkOpaque(call: GuardedCall, register: number, kind: string): number {
  const address = addressIn(call, register);
  const known = call.handles.noted(call.exec, address);
  if (known?.kind !== kind) {
    const other = known === undefined ? "" : `, but the ${known.kind} of another kind`;
    throw refuse(
      call.name,
      register,
      `no ${kind} of this run is at ${hex(address)}${other}: it was not set up, or is gone`,
    );
  }
  if (!call.handles.isIntact(address, known))
    throw refuse(call.name, register, `the ${kind} at ${hex(address)} has been written to by the program`);
  return address;
}

const DYNPTR = "dynptr";

/** Whether what a dynptr is about is there yet and is the program's: memory may have gone, another run has another packet. */
function isThere(call: GuardedCall, { data, kind, size, offset, readOnly }: Dynptr): boolean {
  const { world, exec } = call;
  if (kind === KIND.local || kind === KIND.ringbuf)
    return mayAccess(call, data + offset, size, readOnly ? RIGHT_READ : RIGHT_READ | RIGHT_WRITE);
  const context = world.memory.u32(exec + EXEC_CTX);
  if (data !== context) return kind === KIND.skb && data === world.run.packet?.context;
  const of = world.memory.u32(context + CTX_KIND);
  return kind === KIND.xdp ? of === KIND_XDP : of !== KIND_XDP && of !== KIND_NONE;
}

function checkDynptr(call: GuardedCall, register: number): Dynptr | undefined {
  const address = checkOpaque(call, register, DYNPTR);
  const dynptr = readDynptr(call.world, address);
  const lent = call.handles.noted(call.exec, address)?.lent === true;
  if (dynptr !== undefined && !lent && !isThere(call, dynptr))
    throw refuse(call.name, register, `what the dynptr at ${hex(address)} is for is gone`);
  return dynptr;
}

/** A dynptr that is used, and perhaps changed. */
export const usesDynptr = (register: number, nullable = false): Guard => ({
  before(call) {
    if (!(nullable && call.registers[register - 1] === 0n)) checkDynptr(call, register);
  },
  after: (call) => call.handles.renew(call.exec, addressIn(call, register)),
});

/** Memory that becomes a dynptr. */
export const makesDynptr = (register: number): Guard => ({
  before: (call) => void checkRoom(call, register, DYNPTR_BYTES, "a dynptr"),
  after(call) {
    const { world, handles, exec } = call;
    const address = addressIn(call, register);
    const dynptr = readDynptr(world, address);
    // The record itself is the core's to discard, if nobody has when the run is over.
    const keeps = call.name === "bpf_ringbuf_reserve_dynptr" && dynptr !== undefined;
    handles.note(exec, address, DYNPTR, DYNPTR_BYTES, { keeps });
  },
});

/** The record of a ring buffer that ends, and with it all dynptrs that are about it. */
export const endsDynptr = (register: number): Guard => ({
  before(call) {
    const { world, handles, exec, name } = call;
    const dynptr = checkDynptr(call, register);
    const { opaque } = handles.of(exec);
    const about = [...opaque].filter(([address, { kind }]) => {
      const other = kind === DYNPTR ? readDynptr(world, address) : undefined;
      return dynptr !== undefined && other?.kind === KIND.ringbuf && other.data === dynptr.data;
    });
    if (dynptr !== undefined && (dynptr.kind !== KIND.ringbuf || !about.some(([, { keeps }]) => keeps)))
      throw refuse(name, register, "the dynptr is no record of a ring buffer that this run has reserved");
    opaque.delete(addressIn(call, register));
    for (const [address] of about) opaque.delete(address);
  },
});

/** `keeps` finds what an iterator has allocated, from its bytes. */
export const newIterator = (register: number, kind: string, size: number, keeps: boolean): Guard => ({
  before: (call) => void checkRoom(call, register, size, "an iterator"),
  after(call) {
    const { memory } = call.world;
    const address = addressIn(call, register);
    const block = keeps ? memory.u32(address) : 0;
    const leave = block === 0 ? undefined : (): void => memory.free(block);
    call.handles.note(call.exec, address, `iterator (${kind})`, size, { leave });
  },
});

export const nextOfIterator = (register: number, kind: string): Guard => ({
  before: (call) => void checkOpaque(call, register, `iterator (${kind})`),
  after: (call) => call.handles.renew(call.exec, addressIn(call, register)),
});

export const endOfIterator = (register: number, kind: string): Guard => ({
  before: (call) => void checkOpaque(call, register, `iterator (${kind})`),
  after: (call) => call.handles.forget(call.exec, addressIn(call, register)),
});

const FLAGS = "saved interrupt flags";
export const FLAGS_BYTES = 8;

export const savesFlags = (register: number): Guard => ({
  before: (call) => void checkRoom(call, register, FLAGS_BYTES, "saved flags"),
  after: (call, result) => {
    if (BigInt.asIntN(32, result) >= 0n || call.name === "bpf_local_irq_save")
      call.handles.note(call.exec, addressIn(call, register), FLAGS, FLAGS_BYTES);
  },
});

export const restoresFlags = (register: number): Guard => ({
  before(call) {
    const address = checkOpaque(call, register, FLAGS);
    call.handles.forget(call.exec, address);
  },
});

/** The entry (FIELD_) of the kernel's field that an argument points to. */
function checkField(call: GuardedCall, register: number, ...kinds: readonly string[]): number {
  const address = addressIn(call, register);
  const entry = call.world.core.field_at(address) >>> 0;
  const kind = entry === 0 ? 0 : call.world.memory.u32(entry + FIELD_KIND);
  if (entry === 0 || !kinds.some((name) => FIELD_KINDS[name] === kind))
    throw refuse(
      call.name,
      register,
      `there is no ${kinds.join(" or ")} of the program's at ${hex(address)}`,
    );
  return entry;
}

export const isField = (register: number, kind: string): Guard => ({
  before: (call) => void checkField(call, register, kind),
});

/** A timer and its like, in a value of the map in another argument. */
export const isFieldOf = (register: number, kind: string, map: number): Guard => ({
  before(call) {
    checkField(call, register, kind);
    if (call.world.core.owner_of(addressIn(call, register)) >>> 0 !== addressIn(call, map))
      throw refuse(call.name, register, `the ${kind} is in a value of another map than that in r${map}`);
  },
});

/** A function of the running program. */
export const isFunction = (register: number): Guard => ({
  before(call) {
    const { memory } = call.world;
    const program = memory.u32(call.exec + EXEC_PROG);
    const at = addressIn(call, register) - program - PROG_SIZE;
    const length = memory.u32(program + PROG_FUNCS_END) - program - PROG_SIZE;
    if ((call.registers[register - 1] ?? 0n) >> 32n !== 0n || at < 0 || at >= length || at % FUNC_SIZE !== 0)
      throw refuse(call.name, register, "no function of the program");
  },
});

/** A reference that the run holds and that this call takes. */
export const releases = (register: number, what: string, nullable = false): Guard => ({
  before(call) {
    const address = addressIn(call, register);
    if (nullable && call.registers[register - 1] === 0n) return;
    checkHeld(call, register, address, what);
    call.handles.give(call.exec, address);
  },
});

function checkHeld(call: GuardedCall, register: number, address: number, what: string): void {
  const held = call.handles.held(call.exec, address);
  if (held === what) return;
  const why =
    held === undefined
      ? "it was never acquired, or has been released"
      : `what it holds there is ${described(held)}`;
  throw refuse(
    call.name,
    register,
    `the run holds no reference to ${described(what)} at ${hex(address)}: ${why}`,
  );
}

/** The name under which sockets that lookups have found are held. */
export const SOCKET = "sock";

/** Maps whose lookups give sockets with a reference. Those are the core's, which does not count them. */
function holdsSocketMap({ world: { memory, mapAt }, exec }: GuardedCall): boolean {
  const grants = memory.u32(memory.u32(exec + EXEC_PROG) + PROG_GRANTS);
  const count = grants === 0 ? 0 : memory.u32(grants + GRANTS_COUNT);
  for (let index = 0; index < count; index++) {
    const type = mapAt(memory.u32(grants + GRANTS_LIST + 4 * index))?.type;
    if (type === "sockmap" || type === "sockhash") return true;
  }
  return false;
}

/** bpf_sk_release. */
export const releasesSocket = (register: number): Guard => ({
  before(call) {
    const address = addressIn(call, register);
    if (call.handles.held(call.exec, address) === undefined && holdsSocketMap(call)) return;
    checkHeld(call, register, address, SOCKET);
    call.handles.give(call.exec, address);
  },
});

/** Another view of what r1 points to: whoever releases the one has released the other. */
export const casts: Guard = {
  after: (call, result) => call.handles.alias(call.exec, addressIn(call, 1), Number(result & 0xffffffffn)),
};

export const acquires = (what: string): Guard => ({
  after(call, result) {
    if (result === 0n) return;
    const address = Number(result & 0xffffffffn);
    // A node of a list or tree stands for its object.
    call.handles.hold(call.exec, call.world.heap.objectOf(address) || address, what);
  },
});

/** Whether an object of the kernel's begins at an address, and is in use. */
function isOf({ world: { heap } }: GuardedCall, address: number, what: string): boolean {
  const there = address !== 0 && heap.objectOf(address) === address;
  return there && heap.typeOf(address) === heap.kernelNumber(what);
}

/** An object of the kernel's that was handed out as one of that structure, and is there yet. */
export const isKernelObject = (register: number, what: string): Guard => ({
  before(call) {
    const address = addressIn(call, register);
    if (isOf(call, address, what)) return;
    if (call.handles.held(call.exec, address) === what) return;
    throw refuse(call.name, register, `there is no ${what} at ${hex(address)}`);
  },
});

/** A set of CPUs: one that programs make, or bytes of a structure. */
export const isMask = (register: number): Guard => ({
  before(call) {
    const { cpus } = call.world;
    const address = addressIn(call, register);
    if (isOf(call, address, "bpf_cpumask")) return;
    if (!mayAccess(call, address, 8 * Math.ceil(cpus / 64), RIGHT_READ))
      throw refuse(call.name, register, `there is no set of CPUs at ${hex(address)}`);
  },
});

/** The name under which objects of the program's own types are held. */
export const OBJECT = "an object of the program's";

const described = (what: string): string => (what === OBJECT ? what : `struct ${what}`);

/** The start of an object of the program's, in use. */
export const isObject = (register: number, perCpu: boolean): Guard => ({
  before(call) {
    const { heap } = call.world;
    const address = addressIn(call, register);
    if (heap.objectOf(address) !== address || heap.isPerCpu(address) !== perCpu || heap.isKernel(address))
      throw refuse(
        call.name,
        register,
        `there is no ${perCpu ? "per-CPU " : ""}object of the program's at ${hex(address)}`,
      );
  },
});

/** An object of the program's that can have several references. */
export const isCounted = (register: number): Guard => ({
  before(call) {
    isObject(register, false).before?.(call);
    const address = addressIn(call, register);
    if (call.handles.held(call.exec, address) === undefined && !mayAccess(call, address, 1, RIGHT_READ))
      throw refuse(call.name, register, `the object at ${hex(address)} is not the program's`);
    if (call.world.core.field_beside(address, FIELD_KINDS["refcount"] as number) >>> 0 === 0)
      throw refuse(call.name, register, "objects of this type have no bpf_refcount");
  },
});

/** A list or tree may be touched by who holds the lock beside it (kernel/bpf/verifier.c, check_reg_allocation_locked). */
function checkLocked(call: GuardedCall, register: number): void {
  const { core, memory } = call.world;
  const address = addressIn(call, register);
  const lock = core.field_beside(address, FIELD_SPIN_LOCK) >>> 0;
  const resilient = core.field_beside(address, FIELD_RES_SPIN_LOCK) >>> 0;
  if (lock !== 0 && memory.u32(call.exec + EXEC_LOCK) === lock) return;
  if (resilient !== 0 && call.handles.of(call.exec).locks.includes(resilient)) return;
  const which = lock === 0 && resilient === 0 ? "has no lock" : "is not locked by this run";
  throw refuse(call.name, register, `what holds the root at ${hex(address)} ${which}`);
}

export const isLockedRoot = (register: number, kind: "list_head" | "rb_root"): Guard => ({
  before(call) {
    if (call.handles.of(call.exec).ordering)
      throw refuse(call.name, register, "not in the function that orders a tree");
    checkField(call, register, kind);
    checkLocked(call, register);
  },
});

/** A node of an object that is in a tree, or might be. */
export const isNode = (register: number, kind: "list_node" | "rb_node"): Guard => ({
  before: (call) => void checkField(call, register, kind),
});

/** A node that goes into the list or tree of the root in another argument: the run's own, and of the type that it holds. */
export const givesNode = (register: number, kind: "list_node" | "rb_node", root: number): Guard => ({
  before(call) {
    const { core, heap, memory } = call.world;
    const entry = checkField(call, register, kind);
    const holder = core.field_at(addressIn(call, root)) >>> 0;
    const object = heap.objectOf(addressIn(call, register));
    const wanted = memory.u32(holder + FIELD_TARGET);
    if (
      wanted !== heap.typeOf(object) ||
      memory.u32(holder + FIELD_NODE) !== memory.u32(entry + FIELD_OFFSET)
    )
      throw refuse(
        call.name,
        register,
        `a node of struct ${heap.nameOf(heap.typeOf(object))}, but the root is for struct ${heap.nameOf(wanted)}`,
      );
    checkHeld(call, register, object, OBJECT);
    call.handles.give(call.exec, object);
  },
});

/** The function that orders a tree runs in the middle of its change. */
export const ordersTree: Guard = {
  before: (call) => void (call.handles.of(call.exec).ordering = true),
  after: (call) => void (call.handles.of(call.exec).ordering = false),
};

/** Nothing goes while a tree is being ordered. */
export const notOrdering: Guard = {
  before(call) {
    if (call.handles.of(call.exec).ordering)
      throw new Refusal(`${call.name}: not in the function that orders a tree`);
  },
};

/** bpf_kptr_xchg: what goes in is the run's, and of the type that the pointer is for. */
export const exchanges: Guard = {
  before(call) {
    notOrdering.before?.(call);
    const { world, handles, exec, name } = call;
    const entry = checkField(call, 1, "kptr", "percpu_kptr");
    const address = addressIn(call, 2);
    if (call.registers[1] === 0n) return;
    const wanted = world.memory.u32(entry + FIELD_TARGET);
    const held = handles.held(exec, address);
    if (held === undefined) throw refuse(name, 2, `the run holds no reference at ${hex(address)}`);
    const object = world.heap.objectOf(address);
    const type = object === address ? world.heap.typeOf(object) : world.heap.kernelNumber(held);
    if (wanted === 0 || type !== wanted)
      throw refuse(
        name,
        2,
        `struct ${world.heap.nameOf(type)}, but the pointer is to struct ${world.heap.nameOf(wanted)}`,
      );
    handles.give(exec, address);
  },
  after(call, result) {
    if (result === 0n) return;
    const { heap } = call.world;
    const address = Number(result & 0xffffffffn);
    const object = heap.objectOf(address);
    const entry = call.world.core.field_at(addressIn(call, 1)) >>> 0;
    const name = heap.nameOf(call.world.memory.u32(entry + FIELD_TARGET));
    call.handles.hold(call.exec, address, object !== 0 && !heap.isKernel(object) ? OBJECT : name);
  },
};

/** bpf_res_spin_lock and its like. Who holds one already is told so by the lock itself (EDEADLK). */
export const takesLock = (register: number): Guard => ({
  before: (call) => void checkField(call, register, "res_spin_lock"),
  after(call, result) {
    if (result === 0n) call.handles.of(call.exec).locks.push(addressIn(call, register));
  },
});

/** Locks are given back in the reverse order (kernel/bpf/verifier.c, process_spin_lock). */
export const givesLock = (register: number): Guard => ({
  before(call) {
    checkField(call, register, "res_spin_lock");
    const { locks } = call.handles.of(call.exec);
    if (locks.at(-1) !== addressIn(call, register))
      throw refuse(call.name, register, "this is not the lock that the run has taken last");
    locks.pop();
  },
});
