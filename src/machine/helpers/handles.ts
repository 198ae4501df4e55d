/** Which guards look at the calls of which helpers and kernel functions: derived from their prototypes. */
import { KFUNCS, type KfuncRow, PROTOTYPES, type PrototypeRow, helperId, kfuncOf } from "../../uapi/index.ts";
import { DYNPTR_BYTES } from "./dynptr.ts";
import {
  FLAGS_BYTES,
  type Guard,
  OBJECT,
  SOCKET,
  acquires,
  casts,
  endOfIterator,
  endsDynptr,
  exchanges,
  givesLock,
  givesNode,
  isCounted,
  isField,
  isFieldOf,
  isFunction,
  isKernelObject,
  isLockedRoot,
  isMask,
  isNode,
  isObject,
  makesDynptr,
  newIterator,
  nextOfIterator,
  notOrdering,
  ordersTree,
  releases,
  releasesSocket,
  restoresFlags,
  savesFlags,
  takesLock,
  usesDynptr,
} from "./guards.ts";

/** Bytes of the iterators (struct bpf_iter_NAME), and whether the first word is memory that is given back at the end. */
const ITERATORS: Readonly<Record<string, readonly [bytes: number, keeps: boolean]>> = {
  bits: [16, true],
  css: [24, true],
  css_task: [8, true],
  dmabuf: [8, true],
  kmem_cache: [8, true],
  num: [8, false],
  task: [24, true],
  task_vma: [8, true],
};

/** Structures that programs hold references to, but which the core takes for objects like others. */
const WORLD = /^(?:const )?struct (task_struct|cgroup|file|nf_conn|nf_conn___init|xfrm_state) \*/;
const KERNEL = /^(?:const )?struct (bpf_cpumask|bpf_crypto_ctx|bpf_key) \*/;

const has = ({ flags }: KfuncRow, flag: string): boolean => flags?.some((one) => one === flag) === true;

/** The guards of one argument. */
function guardsOf(row: KfuncRow, arg: string, register: number): readonly Guard[] {
  const release = has(row, "release");
  const iterator = /^struct bpf_iter_(\w+) \*/.exec(arg)?.[1];
  const [bytes, keeps] = iterator === undefined ? [] : (ITERATORS[iterator] ?? []);
  if (iterator !== undefined && bytes !== undefined) {
    if (has(row, "iter_new")) return [newIterator(register, iterator, bytes, keeps === true)];
    return [has(row, "iter_next") ? nextOfIterator(register, iterator) : endOfIterator(register, iterator)];
  }
  if (/^(const )?struct bpf_dynptr \*/.test(arg))
    return [
      arg.endsWith("__uninit") ? makesDynptr(register) : usesDynptr(register, arg.endsWith("__nullable")),
    ];
  const kernel = KERNEL.exec(arg)?.[1];
  if (kernel !== undefined)
    return release ? [releases(register, kernel)] : [isKernelObject(register, kernel)];
  const world = WORLD.exec(arg)?.[1];
  if (world !== undefined) return release ? [releases(register, world)] : [];
  if (/^(const )?struct cpumask \*/.test(arg)) return [isMask(register)];
  if (arg.startsWith("struct bpf_list_head *")) return [isLockedRoot(register, "list_head")];
  if (arg.startsWith("struct bpf_rb_root *")) return [isLockedRoot(register, "rb_root")];
  if (arg.startsWith("struct bpf_list_node *")) return [givesNode(register, "list_node", 1)];
  if (arg.startsWith("struct bpf_rb_node *"))
    return row.name === "bpf_rbtree_add_impl"
      ? [givesNode(register, "rb_node", 1)]
      : [isNode(register, "rb_node")];
  if (arg.endsWith("*p__alloc"))
    return [isObject(register, row.name.startsWith("bpf_percpu_")), releases(register, OBJECT)];
  if (arg.endsWith("*p__refcounted_kptr")) return [isCounted(register)];
  if (/^fn \*|^bpf_\w+_callback_t /.test(arg)) return [isFunction(register)];
  const field = /^struct bpf_(wq|task_work) \*/.exec(arg)?.[1];
  if (field !== undefined) {
    const map = row.args.findIndex((other) => other.endsWith("__map"));
    return [map < 0 ? isField(register, field) : isFieldOf(register, field, map + 1)];
  }
  if (arg.startsWith("struct bpf_res_spin_lock *"))
    return [row.name.includes("_unlock") ? givesLock(register) : takesLock(register)];
  if (arg.endsWith("__irq_flag"))
    return [/unlock|restore/.test(row.name) ? restoresFlags(register) : savesFlags(register)];
  return [];
}

/** What a function hands out, by the name under which it is held. */
function yields({ returns, name }: KfuncRow): string {
  const struct = /^struct (\w+) \*$/.exec(returns)?.[1];
  const own =
    struct === undefined || /^bpf_(list|rb)_node$/.test(struct) || name === "bpf_refcount_acquire_impl";
  return own ? OBJECT : struct;
}

function guardsOfKfunc(row: KfuncRow): readonly Guard[] {
  const of = row.args.flatMap((arg, index) => guardsOf(row, arg, index + 1));
  // What comes out of another structure's tree or list has been put in by somebody: see has(row, "acquire").
  const acquired = has(row, "acquire") ? [acquires(yields(row))] : [];
  if (row.name === "bpf_rbtree_add_impl") return [...of, ordersTree];
  return has(row, "release") ? [notOrdering, ...of, ...acquired] : [...of, ...acquired];
}

function guardsOfPrototype(row: PrototypeRow): readonly Guard[] {
  if (row.helper === "kptr_xchg") return [exchanges];
  if (row.helper === "sk_release") return [releasesSocket(1)];
  if (/^skc?_lookup_/.test(row.helper)) return [acquires(SOCKET)];
  if (row.helper.startsWith("skc_to_")) return [casts];
  return row.args.flatMap((arg, index) => {
    const [name, ...flags] = arg.split(" ");
    const register = index + 1;
    if (name === "ptr_to_dynptr") {
      if (flags.includes("release")) return [endsDynptr(register)];
      return [flags.includes("uninit") ? makesDynptr(register) : usesDynptr(register)];
    }
    if (name === "ptr_to_timer")
      return [row.helper === "timer_init" ? isFieldOf(register, "timer", 2) : isField(register, "timer")];
    return name === "ptr_to_func" && row.helper === "timer_set_callback" ? [isFunction(register)] : [];
  });
}

const BY_KFUNC: ReadonlyMap<string, readonly Guard[]> = new Map(
  KFUNCS.map((row) => [row.name, guardsOfKfunc(row)]),
);
const BY_HELPER: ReadonlyMap<number, readonly Guard[]> = new Map(
  PROTOTYPES.map((row) => [helperId(row.helper) ?? 0, guardsOfPrototype(row)]),
);

/** Nothing for most. */
export const kfuncGuards = (name: string): readonly Guard[] => BY_KFUNC.get(name) ?? [];
export const helperGuards = (id: number): readonly Guard[] => BY_HELPER.get(id) ?? [];

/** Bytes of memory in which a function begins something that a guard notes after the call; 0 for other arguments. */
export function roomOf(name: string, index: number): number {
  const row = kfuncOf(name);
  const arg = row?.args[index] ?? "";
  if (row === undefined) return 0;
  if (arg.startsWith("struct bpf_dynptr *") && arg.endsWith("__uninit")) return DYNPTR_BYTES;
  if (arg.endsWith("__irq_flag")) return /unlock|restore/.test(name) ? 0 : FLAGS_BYTES;
  const iterator = /^struct bpf_iter_(\w+) \*/.exec(arg)?.[1] ?? "";
  return has(row, "iter_new") ? (ITERATORS[iterator]?.[0] ?? 0) : 0;
}

/** Whether a guard looks at an argument of a kernel function, so that the core need not. */
export function isGuarded(name: string, index: number): boolean {
  const row = kfuncOf(name);
  const arg = row?.args[index];
  return row !== undefined && arg !== undefined && guardsOf(row, arg, index + 1).length > 0;
}
