/**
 * What a program with typed arguments attaches to (bpf_check_attach_target, check_struct_ops_btf_id of kernel/bpf/verifier.c): a
 * tracepoint, an iterator's target, a function, an LSM hook, a method of a struct_ops.
 */
import { type Btf, type BtfParameter, type BtfPrototype, resolve } from "../../btf/index.ts";
import type { Environment } from "../environment.ts";

export interface Target {
  readonly btf: Btf;
  /** Its name in messages. */
  readonly name: string;
  readonly prototype: BtfPrototype;
  /** Without what the kernel puts before the arguments. */
  readonly parameters: readonly BtfParameter[];
  /** The struct_ops that it is a method of. */
  readonly struct: string | undefined;
  /** Arguments of a struct_ops method as its stub has them, with suffixes that say more. */
  readonly stub: readonly BtfParameter[] | undefined;
}

/** Where each attach type finds its target in the kernel's BTF. */
const PREFIXES: Readonly<Record<string, string>> = {
  trace_raw_tp: "btf_trace_",
  trace_iter: "bpf_iter_",
  trace_fentry: "",
  trace_fexit: "",
  modify_return: "",
  lsm_mac: "bpf_lsm_",
  lsm_cgroup: "bpf_lsm_",
};

const targets = new WeakMap<Environment, Target>();

/** The target of the program. Without the kernel's types, or without a target, nothing is known of the arguments. */
export function targetOf(env: Environment): Target {
  let target = targets.get(env);
  if (target === undefined) {
    target = find(env);
    targets.set(env, target);
  }
  return target;
}

function find(env: Environment): Target {
  const { kernelBtf: btf, attachType, attachTo } = env.program;
  if (btf === undefined) throw env.unsupported("typed contexts without the kernel's types");
  if (env.type === "struct_ops") return method(env, btf);
  const prefix = attachType === undefined ? undefined : PREFIXES[attachType];
  if (attachTo === undefined || prefix === undefined) {
    throw env.unsupported(`typed contexts of ${env.type} programs that attach to nothing`);
  }
  const isTracepoint = attachType === "trace_raw_tp";
  const [type] = btf.find(prefix + attachTo, isTracepoint ? "typedef" : "func");
  if (type === undefined) throw env.unsupported(`programs that attach to ${prefix}${attachTo}`);
  const pointer = isTracepoint ? resolve(btf, type.id) : type;
  const prototype = "type" in pointer ? btf.type(pointer.type as number) : undefined;
  if (prototype?.kind !== "func_proto") throw env.unsupported(`programs that attach to ${attachTo}`);
  return {
    btf,
    name: isTracepoint ? attachTo : prefix + attachTo,
    prototype,
    // A tracepoint's function is given its own data first.
    parameters: isTracepoint ? prototype.parameters.slice(1) : prototype.parameters,
    struct: undefined,
    stub: undefined,
  };
}

function method(env: Environment, btf: Btf): Target {
  const { structOps } = env.program;
  const struct = structOps === undefined ? undefined : btf.type(structOps.struct);
  const member = struct?.kind === "struct" ? struct.members[structOps?.member ?? -1] : undefined;
  if (struct === undefined || member === undefined) {
    throw env.unsupported("struct_ops programs that implement no method");
  }
  const pointer = resolve(btf, member.type);
  const prototype = pointer.kind === "ptr" ? btf.type(pointer.type) : undefined;
  if (prototype?.kind !== "func_proto") {
    throw env.reject(
      "EINVAL",
      `attach to invalid member ${member.name}(@idx ${structOps?.member ?? 0}) of struct ${struct.name}`,
    );
  }
  const [stub] = btf.find(`${struct.name}__${member.name}`, "func");
  const stubPrototype = stub?.kind === "func" ? btf.type(stub.type) : undefined;
  return {
    btf,
    name: member.name,
    prototype,
    parameters: prototype.parameters,
    struct: struct.name,
    stub: stubPrototype?.kind === "func_proto" ? stubPrototype.parameters : undefined,
  };
}

/** Methods that no program can implement: the kernel has no stub for them. */
const UNSUPPORTED: Readonly<Record<string, readonly string[]>> = { tcp_congestion_ops: ["get_info"] };

/** Methods whose programs may sleep, of interfaces where only some may (check_member of struct bpf_struct_ops). */
const SLEEPABLE_METHODS: Readonly<Record<string, readonly string[]>> = {
  bpf_dummy_ops: ["test_sleepable"],
  sched_ext_ops: [
    "init_task",
    "cgroup_init",
    "cgroup_exit",
    "cgroup_prep_move",
    "cpu_online",
    "cpu_offline",
    "init",
    "exit",
  ],
  hid_bpf_ops: ["hid_rdesc_fixup", "hid_hw_request", "hid_hw_output_report"],
};

/** Whether the method may be implemented, by a program like this (check_struct_ops_btf_id). */
export function checkMethod(env: Environment): void {
  if (!env.gplCompatible) {
    throw env.reject("EINVAL", "struct ops programs must have a GPL compatible license");
  }
  if (env.program.kernelBtf !== undefined && env.program.structOps === undefined)
    throw env.reject("ENOTSUPP");
  const { struct, name, stub } = targetOf(env);
  const refuse = (errno: "ENOTSUPP" | "EINVAL"): unknown =>
    env.reject(errno, `attach to unsupported member ${name} of struct ${struct ?? ""}`);
  if (struct !== undefined && UNSUPPORTED[struct]?.includes(name) === true) throw refuse("ENOTSUPP");
  // What another interface forbids is not known.
  if (struct !== "tcp_congestion_ops" && SLEEPABLE_METHODS[struct ?? ""] === undefined) {
    throw env.unsupported(`methods of ${struct ?? ""}`);
  }
  // They are held from the first instruction on, whether the program looks at them or not.
  if (stub?.some((parameter) => parameter.name.endsWith("__ref")) === true) {
    throw env.unsupported("references as arguments of struct_ops programs");
  }
  const sleepable = SLEEPABLE_METHODS[struct ?? ""];
  if (env.program.sleepable === true && sleepable?.includes(name) === false) throw refuse("EINVAL");
}
