/**
 * Which helpers a machine has, how compiled code calls them, and the functions behind those written in TypeScript, those
 * that a test has taken over among them.
 */
import { BpfError } from "../../errors.ts";
import { CORE_HELPERS, type CoreExports, type CoreHelper } from "../../core/index.ts";
import {
  EXEC_CPU,
  EXEC_PC,
  EXEC_PROG,
  EXEC_REGS,
  PROG_SAFETY,
  RIGHT_READ,
  SAFETY_SANDBOX,
} from "../../core/layout.ts";
import { helperId, helperName, kfuncOf } from "../../uapi/index.ts";
import { HOST_KFUNCS } from "../kfuncs/table.ts";
import type { HostKfunc } from "../kfuncs/types.ts";
import { poisonReached, poisonedSlot } from "../poison.ts";
import type { Handles } from "../handles.ts";
import { kfuncContract, withoutPacket } from "./contracts.ts";
import type { Guard, GuardedCall } from "./guards.ts";
import { helperGuards, kfuncGuards } from "./handles.ts";
import { type CallSite, type HelperCall, type HelperMock, type HelperSpy, Spy } from "./mock.ts";
import { HOST_HELPERS } from "./table.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

/** How a call instruction becomes a call: straight into the core, or through a TypeScript function. */
export type HelperLowering =
  | ({ readonly kind: "core" } & CoreHelper)
  | { readonly kind: "host"; readonly name: string; readonly args: number };

const CORE_BY_ID: ReadonlyMap<number, CoreHelper> = new Map(
  CORE_HELPERS.map((helper) => [helperId(helper.name) ?? 0, helper]),
);
const HOST_BY_ID: ReadonlyMap<number, HostHelper> = new Map(
  HOST_HELPERS.map((helper) => [helperId(helper.name) ?? 0, helper]),
);

const KFUNC_BY_NAME: ReadonlyMap<string, HostKfunc> = new Map(HOST_KFUNCS.map((row) => [row.name, row]));

function whyMissing(id: number): string {
  const name = helperName(id);
  return name === undefined
    ? `helper ${id} does not exist`
    : `helper bpf_${name} (${id}) is not implemented here yet; machine.mockHelper("${name}", ...) can answer it`;
}

const missing = (id: number): BpfError => new BpfError("helper", whyMissing(id));

/** The arguments of the call under way, read from the execution state. One object serves all calls of a machine. */
class RegisterArguments implements HelperArguments {
  exec = 0;
  readonly #world: HelperWorld;

  constructor(world: HelperWorld) {
    this.#world = world;
  }

  u32(register: number): number {
    return this.#world.memory.view.getUint32(this.exec + EXEC_REGS + 8 * register, true);
  }

  i32(register: number): number {
    return this.#world.memory.view.getInt32(this.exec + EXEC_REGS + 8 * register, true);
  }

  u64(register: number): bigint {
    return this.#world.memory.view.getBigUint64(this.exec + EXEC_REGS + 8 * register, true);
  }
}

/** What the helpers of a machine need of it beside the world. */
export interface HelperHost {
  readonly core: CoreExports;
  /** What sandboxed runs hold. */
  readonly handles: Handles;
  programName(descriptor: number): string;
  /** Programs that call this helper must be compiled anew. */
  recompile(id: number): void;
}

type HostFunction = (exec: number) => void;

/** The helpers of one machine. */
export class HelperSet {
  /** What compiled programs import from module `host`, by name; each is given the address of the execution state. */
  readonly imports: Readonly<Record<string, HostFunction>>;
  readonly #world: HelperWorld;
  readonly #args: RegisterArguments;
  readonly #host: () => HelperHost;
  readonly #functions = new Map<number, HostFunction>();
  readonly #spies = new Map<number, Spy[]>();
  /** Names of kernel functions that programs call; calls name them by their index. */
  readonly #kfuncs: string[] = [""];
  readonly #registered = new Map<string, Spy[]>();

  /** The host is asked for when it is needed: the core that is part of it imports these functions. */
  constructor(world: HelperWorld, host: () => HelperHost) {
    this.#world = world;
    this.#host = host;
    this.#args = new RegisterArguments(world);
    this.imports = new Proxy<Record<string, HostFunction>>(
      {},
      {
        get: (_target, name): HostFunction => {
          const kfunc = /^kfunc_(\d+)$/.exec(String(name))?.[1];
          if (kfunc !== undefined) return (exec) => this.callKfunc(Number(kfunc), exec);
          return this.#function(helperId(String(name)) ?? 0);
        },
      },
    );
  }

  has(id: number): boolean {
    return CORE_BY_ID.has(id) || HOST_BY_ID.has(id) || this.#spies.has(id);
  }

  /** Why a helper cannot be called; undefined if it can. */
  whyMissing(id: number): string | undefined {
    return this.has(id) ? undefined : whyMissing(id);
  }

  lower(id: number): HelperLowering {
    const core = CORE_BY_ID.get(id);
    if (core !== undefined && !this.#spies.has(id)) return { kind: "core", ...core };
    if (!this.has(id)) throw missing(id);
    return { kind: "host", name: helperName(id) as string, args: argumentsOf(id) };
  }

  /** For the interpreter and `callx`. */
  call(id: number, exec: number): void {
    this.#function(id)(exec);
  }

  hasKfunc(name: string): boolean {
    return KFUNC_BY_NAME.has(name) || this.#registered.has(name);
  }

  /** What a call of a kernel function has in its place for a BTF id. */
  kfuncId(name: string): number {
    const known = this.#kfuncs.indexOf(name);
    return known >= 0 ? known : this.#kfuncs.push(name) - 1;
  }

  /** All names that calls have numbers for, in the order of these. */
  get kfuncNames(): readonly string[] {
    return this.#kfuncs.slice(1);
  }

  /** The way back. */
  kfuncName(id: number): string | undefined {
    return this.#kfuncs[id];
  }

  callKfunc(id: number, exec: number): void {
    const name = this.#kfuncs[id];
    if (name === undefined || name === "")
      throw new BpfError("helper", `kernel function ${id} does not exist`);
    const call = (): bigint | number =>
      this.#kfunc(name, exec, (this.#registered.get(name)?.length ?? 0) - 1);
    if (this.#registered.has(name) || !this.#isSandboxed(exec)) {
      this.#store(exec, call());
      return;
    }
    const { memory } = this.#world;
    const [frame, pc] = [memory.u32(exec + EXEC_REGS + 80), memory.u32(exec + EXEC_PC)];
    const contract = kfuncContract(name);
    const given = this.#givesPacket(exec);
    this.#host().core.check_contract(given ? withoutPacket(contract) : contract, frame, pc);
    this.#store(exec, this.#guarded(exec, name, kfuncGuards(name), call));
  }

  /** Whether r1 is the packet of a netfilter program, which has it as the kernel's own structure. */
  #givesPacket(exec: number): boolean {
    const { memory, programAt, run } = this.#world;
    const packet = run.packet?.skb;
    if (packet === undefined || memory.u64(exec + EXEC_REGS + 8) !== BigInt(packet)) return false;
    return programAt(memory.u32(exec + EXEC_PROG)).type === "netfilter";
  }

  /** A call of a sandboxed program, with a look at the handles that it gives and gets. */
  #guarded(
    exec: number,
    name: string,
    guards: readonly Guard[],
    call: () => bigint | number,
  ): bigint | number {
    if (guards.length === 0) return call();
    const { memory } = this.#world;
    const registers = [1, 2, 3, 4, 5].map((register) => memory.u64(exec + EXEC_REGS + 8 * register));
    const guarded: GuardedCall = { world: this.#world, handles: this.#host().handles, exec, name, registers };
    for (const { before } of guards) before?.(guarded);
    const result = call();
    for (const { after } of guards) after?.(guarded, BigInt.asUintN(64, BigInt(result)));
    return result;
  }

  #isSandboxed(exec: number): boolean {
    const { memory } = this.#world;
    return memory.u32(memory.u32(exec + EXEC_PROG) + PROG_SAFETY) === SAFETY_SANDBOX;
  }

  #kfunc(name: string, exec: number, index: number): bigint | number {
    const spy = this.#registered.get(name)?.[index];
    if (spy !== undefined) {
      const original = (): bigint => BigInt(this.#kfunc(name, exec, index - 1));
      return spy.run(this.#site(name, kfuncOf(name)?.args.length ?? 5, exec, original));
    }
    const row = KFUNC_BY_NAME.get(name);
    if (row === undefined)
      throw new BpfError("helper", `kernel function ${name}: nothing stands behind it any more`);
    this.#args.exec = exec;
    return row.call(this.#world, this.#args) ?? 0;
  }

  /** A function of the host that programs call as a kernel function of that name. */
  register(name: string, mock: (call: HelperCall) => number | bigint | void): HelperSpy {
    const forget = (spy: Spy): void => {
      const rest = without(this.#registered.get(name), spy);
      if (rest.length === 0) this.#registered.delete(name);
      else this.#registered.set(name, rest);
    };
    const spy: Spy = new Spy(
      name,
      (call) => mock(call) ?? 0,
      () => forget(spy),
    );
    this.#registered.set(name, [...(this.#registered.get(name) ?? []), spy]);
    return spy;
  }

  #site(name: string, count: number, exec: number, original: () => bigint): CallSite {
    const { memory } = this.#world;
    const registers = exec + EXEC_REGS;
    return {
      name,
      program: this.#host().programName(memory.u32(exec + EXEC_PROG)),
      cpu: memory.u32(exec + EXEC_CPU),
      args: Array.from({ length: count }, (_, at) => memory.u64(registers + 8 * (at + 1))),
      memory,
      original,
      ...(this.#isSandboxed(exec)
        ? { mayTouch: (address, length) => this.#mayTouch(exec, address, length) }
        : {}),
    };
  }

  #mayTouch(exec: number, address: number, length: number): boolean {
    const frame = this.#world.memory.u32(exec + EXEC_REGS + 80);
    return this.#host().core.may_access(address, length, RIGHT_READ, frame) === 1;
  }

  #store(exec: number, result: number | bigint): void {
    const { view } = this.#world.memory;
    if (typeof result === "bigint") {
      view.setBigUint64(exec + EXEC_REGS, BigInt.asUintN(64, result), true);
    } else {
      view.setInt32(exec + EXEC_REGS, result, true);
      view.setInt32(exec + EXEC_REGS + 4, Math.floor(result / 2 ** 32), true);
    }
  }

  #function(id: number): HostFunction {
    let run = this.#functions.get(id);
    if (run === undefined) {
      run = this.#create(id);
      this.#functions.set(id, run);
    }
    return run;
  }

  #create(id: number): HostFunction {
    const helper = HOST_BY_ID.get(id);
    const guards = helperGuards(id);
    const store = (exec: number, result: number | bigint): void => this.#store(exec, result);
    return (exec) => {
      const spies = this.#spies.get(id);
      if (spies !== undefined) store(exec, this.#spied(id, exec, spies, spies.length - 1));
      else if (helper !== undefined) {
        this.#args.exec = exec;
        const call = (): number | bigint => helper.call(this.#world, this.#args);
        const looks = guards.length > 0 && this.#isSandboxed(exec);
        store(exec, looks ? this.#guarded(exec, `bpf_${helper.name}`, guards, call) : call());
      } else {
        const slot = poisonedSlot(id);
        if (slot !== undefined) throw poisonReached(slot);
        store(exec, this.#coreCall(id, exec));
      }
    };
  }

  #spied(id: number, exec: number, spies: readonly Spy[], index: number): bigint {
    const original = (): bigint => {
      if (index > 0) return this.#spied(id, exec, spies, index - 1);
      const helper = HOST_BY_ID.get(id);
      if (helper === undefined) return this.#coreCall(id, exec);
      this.#args.exec = exec;
      return BigInt(helper.call(this.#world, this.#args));
    };
    return (spies[index] as Spy).run(this.#site(helperName(id) as string, argumentsOf(id), exec, original));
  }

  /** A helper of the core, called from here. */
  #coreCall(id: number, exec: number): bigint {
    const helper = CORE_BY_ID.get(id);
    if (helper === undefined) throw missing(id);
    if (helper.calls !== undefined) {
      throw new BpfError(
        "unsupported",
        `helper bpf_${helper.name}: it calls functions of the program and cannot be called from a mock`,
      );
    }
    const { memory } = this.#world;
    const values = helper.args.map((type, index) => {
      const at = exec + EXEC_REGS + 8 * (index + 1);
      return type === "u64" ? memory.u64(at) : memory.u32(at);
    });
    const call = this.#host().core[helper.name as keyof CoreExports] as unknown as (
      ...args: readonly (number | bigint)[]
    ) => number | bigint;
    const result = call(...values);
    if (typeof result === "bigint" || helper.result === "int") return BigInt(result);
    return BigInt(result >>> 0);
  }

  /** Puts a function in a helper's place, or only watches it; the last one that was put there answers. */
  mock(name: string, mock: HelperMock | undefined): HelperSpy {
    const id = helperId(name);
    if (id === undefined) throw new BpfError("usage", `mockHelper: Linux has no helper '${name}'`);
    if (mock === undefined && !this.has(id)) throw missing(id);
    const spy: Spy = new Spy(helperName(id) as string, mock, () =>
      this.#set(id, without(this.#spies.get(id), spy)),
    );
    this.#set(id, [...(this.#spies.get(id) ?? []), spy]);
    return spy;
  }

  #set(id: number, spies: Spy[]): void {
    const before = this.#spies.has(id);
    if (spies.length === 0) this.#spies.delete(id);
    else this.#spies.set(id, spies);
    if (!CORE_BY_ID.has(id) || before === this.#spies.has(id)) return;
    const host = this.#host();
    host.core.replace_helper(id, spies.length === 0 ? 0 : 1);
    host.recompile(id);
  }
}

function without(spies: readonly Spy[] | undefined, spy: Spy): Spy[] {
  return (spies ?? []).filter((other) => other !== spy);
}

function argumentsOf(id: number): number {
  return HOST_BY_ID.get(id)?.args ?? CORE_BY_ID.get(id)?.args.length ?? 5;
}
