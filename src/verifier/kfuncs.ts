/**
 * The kernel functions that a program calls (add_kfunc_call, fetch_kfunc_meta): their prototypes are those of the kernel's BTF,
 * their flags those of the table in `uapi/`. A call's `imm` is the id of the function in the kernel's BTF; 0 is a weak function
 * that the kernel does not have, whose call must never be reached.
 */
import type { Btf, BtfPrototype } from "../btf/index.ts";
import type { Instruction } from "../isa/index.ts";
import { KFUNCS, type KfuncFlag, type KfuncRow, mayCallKfunc } from "../uapi/index.ts";
import type { Environment } from "./environment.ts";
import {
  HELPER,
  helperCallsCallbackAtOnce,
  helperCallsCallbackLater,
  isHelperCall,
  isKfuncCall,
} from "./kinds.ts";

/** One kernel function, as a program of one type has it. */
export interface Kfunc {
  readonly id: number;
  readonly name: string;
  readonly btf: Btf;
  readonly prototype: BtfPrototype;
  readonly flags: ReadonlySet<KfuncFlag>;
  /** Whether the program type may call it. */
  readonly allowed: boolean;
  /** Packet pointers die by it. */
  readonly changesPacketData: boolean;
}

const ROWS: ReadonlyMap<string, KfuncRow> = new Map(KFUNCS.map((row) => [row.name, row]));
const PACKET_CHANGERS: ReadonlySet<string> = new Set(["bpf_xdp_pull_data"]);

const NO_TYPES = "kernel functions without the kernel's types";

const known = new WeakMap<Environment, Map<number, Kfunc>>();

/** The function that a call names; undefined if `imm` is 0. */
export function kfuncOf(env: Environment, { imm }: Instruction): Kfunc | undefined {
  if (imm === 0) {
    // Without the kernel's types nothing can be told of any function, present or not.
    if (env.program.kernelBtf === undefined) throw env.unsupported(NO_TYPES);
    return undefined;
  }
  let functions = known.get(env);
  if (functions === undefined) {
    functions = new Map();
    known.set(env, functions);
  }
  let found = functions.get(imm);
  if (found === undefined) {
    found = describe(env, imm);
    functions.set(imm, found);
  }
  return found;
}

/** Name of the function that a call names; "" if it is no call of a kernel function. */
export function kfuncNameOf(env: Environment, instruction: Instruction): string {
  if (!isKfuncCall(instruction)) return "";
  return kfuncOf(env, instruction)?.name ?? "";
}

function describe(env: Environment, id: number): Kfunc {
  const { kernelBtf, type, attachType } = env.program;
  if (kernelBtf === undefined) throw env.unsupported(NO_TYPES);
  if (id < 0 || id >= kernelBtf.count || kernelBtf.kind(id) !== "func") {
    throw env.reject("EINVAL", `kernel btf_id ${id} is not a function`);
  }
  const func = kernelBtf.type(id);
  const prototype = func.kind === "func" ? kernelBtf.type(func.type) : undefined;
  if (prototype?.kind !== "func_proto") {
    throw env.reject("EINVAL", `kernel function btf_id ${id} does not have a valid func_proto`);
  }
  const row = ROWS.get(func.name);
  const allowed = mayCallKfunc(func.name, type, attachType);
  if (row === undefined && allowed) throw env.unsupported(`kernel function ${func.name}`);
  return {
    id,
    name: func.name,
    btf: kernelBtf,
    prototype,
    flags: new Set(row?.flags ?? []),
    allowed,
    changesPacketData: PACKET_CHANGERS.has(func.name),
  };
}

/** Before the run: what every call of a kernel function needs, in the order in which the kernel complains. */
export function checkKfunc(env: Environment, instruction: Instruction): void {
  if (!env.gplCompatible) {
    throw env.reject("EINVAL", "cannot call kernel function from non-GPL compatible program");
  }
  if (instruction.imm === 0 && instruction.offset === 0) return;
  if (instruction.offset !== 0) throw env.unsupported("kernel functions of modules");
  if (kfuncOf(env, instruction)?.name.startsWith("bpf_xdp_metadata_") === true) {
    throw env.reject("EINVAL", "metadata kfuncs require device-bound program");
  }
}

/** Calls that run a callback before they return. */
export function callsCallbackAtOnce(env: Environment, instruction: Instruction): boolean {
  return helperCallsCallbackAtOnce(instruction) || kfuncNameOf(env, instruction) === "bpf_rbtree_add_impl";
}

const LATER: ReadonlySet<string> = new Set([
  "bpf_wq_set_callback_impl",
  "bpf_task_work_schedule_signal_impl",
  "bpf_task_work_schedule_resume_impl",
]);

/** Calls that hand over a callback for later. */
export function callsCallbackLater(env: Environment, instruction: Instruction): boolean {
  return helperCallsCallbackLater(instruction) || LATER.has(kfuncNameOf(env, instruction));
}

/**
 * After the run, when calls are replaced (do_misc_fixups): a function that the kernel lacks may not be called by code that can be reached,
 * and a tail call must be masked.
 */
export function checkCallsAgain(env: Environment): void {
  for (const [index, instruction] of env.instructions.entries()) {
    const aux = env.aux[index];
    if (aux?.seen !== true) continue;
    if (isKfuncCall(instruction) && instruction.imm === 0) {
      throw env.reject("EINVAL", "invalid kernel function call not eliminated in verifier pass");
    }
    // Maps of those without CAP_PERFMON are masked where they are used: it must be known which one it is.
    if (!env.hasPerfmon && aux.callMap === "poison" && isTailCall(instruction)) {
      throw env.reject("EINVAL", "tail_call abusing map_ptr");
    }
  }
}

function isTailCall(instruction: Instruction): boolean {
  return isHelperCall(instruction) && instruction.imm === HELPER.tail_call;
}
