/** Which helpers a machine has, how compiled code calls them, and the functions behind those written in TypeScript. */
import { BpfError } from "../../errors.ts";
import { CORE_HELPERS, type CoreHelper } from "../../core/helpers.ts";
import { EXEC_REGS } from "../../core/layout.ts";
import { helperId, helperName } from "../../uapi/index.ts";
import { poisonReached, poisonedSlot } from "../poison.ts";
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

export function hasHelper(id: number): boolean {
  return CORE_BY_ID.has(id) || HOST_BY_ID.has(id);
}

export function lowerHelper(id: number): HelperLowering {
  const core = CORE_BY_ID.get(id);
  if (core !== undefined) return { kind: "core", ...core };
  const host = HOST_BY_ID.get(id);
  if (host !== undefined) return { kind: "host", name: host.name, args: host.args };
  throw missing(id);
}

const missing = (id: number): BpfError => {
  const name = helperName(id);
  return new BpfError(
    "helper",
    name === undefined
      ? `helper ${id} does not exist`
      : `helper bpf_${name} (${id}) is not implemented here yet`,
  );
};

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

/** The functions that WebAssembly imports as `host`. */
export interface HostFunctions {
  /** By name, each given the address of the execution state. */
  readonly byName: Readonly<Record<string, (exec: number) => void>>;
  /** By helper id, for the interpreter and `callx`. */
  callHelper(id: number, exec: number): void;
}

export function createHostFunctions(world: HelperWorld): HostFunctions {
  const args = new RegisterArguments(world);
  const byName: Record<string, (exec: number) => void> = {};
  const byId = new Map<number, (exec: number) => void>();
  for (const [id, helper] of HOST_BY_ID) {
    const run = (exec: number): void => {
      args.exec = exec;
      const result = helper.call(world, args);
      const { view } = world.memory;
      if (typeof result === "bigint") {
        view.setBigUint64(exec + EXEC_REGS, BigInt.asUintN(64, result), true);
      } else {
        view.setInt32(exec + EXEC_REGS, result, true);
        view.setInt32(exec + EXEC_REGS + 4, Math.floor(result / 2 ** 32), true);
      }
    };
    byName[helper.name] = run;
    byId.set(id, run);
  }
  return {
    byName,
    callHelper(id, exec) {
      const run = byId.get(id);
      if (run === undefined) {
        const slot = poisonedSlot(id);
        throw slot === undefined ? missing(id) : poisonReached(slot);
      }
      run(exec);
    },
  };
}
