/** Prototypes of helpers with the kernel's flags instead of words (struct bpf_func_proto). */
import { type PrototypeRow, allowedHelpers, helperName, prototypeOf } from "../../uapi/index.ts";
import { helperName as nameInLog } from "../disassemble.ts";
import { missingForHelper } from "../capabilities.ts";
import type { Environment } from "../environment.ts";
import { mayChangeSocket } from "../kernel-types/lsm.ts";
import { targetOf } from "../kernel-types/target.ts";
import {
  DYNPTR_TYPE_LOCAL,
  DYNPTR_TYPE_RINGBUF,
  MEM_ALIGNED,
  MEM_FIXED_SIZE,
  MEM_RDONLY,
  MEM_RINGBUF,
  MEM_UNINIT,
  MEM_WRITE,
  OBJ_RELEASE,
  PTR_MAYBE_NULL,
  PTR_TRUSTED,
} from "../register-types.ts";

/** What an argument must be. */
export interface Argument {
  /** The kernel's ARG_ name in lower case. */
  readonly base: string;
  readonly flags: number;
  /** Bytes of memory of fixed size. */
  readonly size: number;
  /** The kernel's struct that it must point to. */
  readonly struct: string | undefined;
}

/** A helper as a program of one type and attach type has it. */
export interface Prototype {
  readonly row: PrototypeRow;
  readonly args: readonly Argument[];
  /** The kernel's RET_ name in lower case, and what comes to it. */
  readonly returns: string;
  readonly returnFlags: number;
  readonly returnStruct: string | undefined;
}

const FLAGS: Readonly<Record<string, number>> = {
  maybe_null: PTR_MAYBE_NULL,
  rdonly: MEM_RDONLY,
  uninit: MEM_UNINIT,
  write: MEM_WRITE,
  aligned: MEM_ALIGNED,
  release: OBJ_RELEASE,
  ringbuf: MEM_RINGBUF,
  trusted: PTR_TRUSTED,
  "dynptr=local": DYNPTR_TYPE_LOCAL,
  "dynptr=ringbuf": DYNPTR_TYPE_RINGBUF,
};

function parse(text: string): Argument {
  const [base = "", ...words] = text.split(" ");
  let flags = 0;
  let size = 0;
  let struct: string | undefined;
  for (const word of words) {
    if (word.startsWith("size=")) {
      size = Number(word.slice(5));
      flags |= MEM_FIXED_SIZE;
    } else if (word.startsWith("btf=")) struct = word.slice(4);
    else flags |= FLAGS[word] ?? 0;
  }
  return { base, flags, size, struct };
}

const parsed = new Map<PrototypeRow, Prototype>();

function prototypeOfRow(row: PrototypeRow): Prototype {
  const seen = parsed.get(row);
  if (seen !== undefined) return seen;
  const { base, flags, struct } = parse(row.returns);
  const made: Prototype = {
    row,
    args: row.args.map(parse),
    returns: base,
    returnFlags: flags,
    returnStruct: struct,
  };
  parsed.set(row, made);
  return made;
}

/** Helpers that iterators over sockets have besides (get_func_proto of struct bpf_iter_reg). */
const ITERATOR_HELPERS: Readonly<Record<string, readonly string[]>> = {
  tcp: ["setsockopt", "getsockopt"],
  unix: ["setsockopt", "getsockopt"],
};

/** Why there is no prototype: no helper has the id, or the program may not call it. */
export type NoHelper = "unknown" | "not_allowed";

const contexts = new WeakMap<Environment, Map<number, Prototype | NoHelper>>();

/** The helper with an id, for the program under verification (get_helper_proto). */
export function helperOf(env: Environment, id: number): Prototype | NoHelper {
  let known = contexts.get(env);
  if (known === undefined) {
    known = new Map();
    contexts.set(env, known);
  }
  let found = known.get(id);
  if (found === undefined) {
    found = findHelper(env, id);
    known.set(id, found);
  }
  return found;
}

/** Interfaces whose helpers are told by {@link methodHasHelper} alone. */
const OWN_HELPERS: ReadonlySet<string> = new Set(["sched_ext_ops", "hid_bpf_ops"]);

/** Helpers of struct_ops programs are those of the interface that they implement. */
function methodHasHelper(env: Environment, id: number): boolean {
  const { struct, name } = targetOf(env);
  if (struct === "bpf_dummy_ops") return false;
  if (struct === "sched_ext_ops" || struct === "hid_bpf_ops") {
    const storage = helperName(id) === "task_storage_get" || helperName(id) === "task_storage_delete";
    // Netfilter programs have what every program may call, and nothing else (bpf_base_func_proto).
    return allowedHelpers({ type: "netfilter" }).has(id) || (struct === "sched_ext_ops" && storage);
  }
  if (struct !== "tcp_congestion_ops") throw env.unsupported(`helpers of ${struct ?? ""}`);
  // Who is about to be replaced may not bring itself back.
  const helper = helperName(id);
  return name !== "release" || (helper !== "setsockopt" && helper !== "getsockopt");
}

function findHelper(env: Environment, id: number): Prototype | NoHelper {
  const { program } = env;
  if (helperName(id) === undefined && id !== 0) return "unknown";
  const context = {
    type: program.type,
    ...(program.attachType === undefined ? {} : { attachType: program.attachType }),
    sleepable: program.sleepable ?? false,
  };
  const row = prototypeOf(id, context);
  if (row === undefined || (program.type === "struct_ops" && !methodHasHelper(env, id))) return "not_allowed";
  const extra = ITERATOR_HELPERS[program.attachType === "trace_iter" ? (program.attachTo ?? "") : ""];
  if (program.type === "struct_ops" && OWN_HELPERS.has(targetOf(env).struct ?? ""))
    return prototypeOfRow(row);
  if (!allowedHelpers(context).has(id) && extra?.includes(helperName(id) ?? "") !== true)
    return "not_allowed";
  const changesSocket = helperName(id) === "setsockopt" || helperName(id) === "getsockopt";
  if (program.type === "lsm" && changesSocket && !mayChangeSocket(env)) return "not_allowed";
  if (missingForHelper(helperName(id), env.options) !== undefined) return "not_allowed";
  return prototypeOfRow(row);
}

/** "bpf_map_lookup_elem", or "unknown" (func_id_name). */
export function helperLabel(id: number): string {
  return `${nameInLog(id)}#${id}`;
}
