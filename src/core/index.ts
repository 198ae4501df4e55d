/**
 * The WebAssembly core over a machine's linear memory: interpreter, allocator, maps, hot helpers, batch loop.
 * What lies where in the memory is in `layout.ts`; which helpers the core has is in `helpers.ts`.
 */
import { BpfError } from "../errors.ts";
import { coreWasm } from "./core.wasm.ts";

export { CORE_HELPERS, type CoreHelper } from "./helpers.ts";

/** What the host does for programs. Arguments and result of a helper are in the execution state (EXEC_REGS). */
export interface CoreHost {
  /** A helper that the core does not have. What it throws ends the run. */
  readonly call_helper: (id: number, exec: number) => void;
  /** A kernel function, by its BTF id. */
  readonly call_kfunc: (id: number, exec: number) => void;
  /** Compiles the program of a descriptor that compiled code has called by a tail call. What it throws ends the run. */
  readonly compile_program: (prog: number) => void;
}

/** What a core is built on. */
export interface CoreImports {
  readonly memory: WebAssembly.Memory;
  /** The function table that compiled programs put their functions in. */
  readonly table: WebAssembly.Table;
  readonly host: CoreHost;
}

/**
 * The exports of core.wasm. Addresses come out as signed 32-bit numbers: use `>>> 0`. Where an address or an error can
 * be returned, errors are -4095 to -1 (an errno, negated).
 */
export interface CoreExports {
  /** Address of the execution state of the run under way; compiled programs import it. */
  readonly exec: WebAssembly.Global<"i32">;
  /** What compiled code may still spend on back edges and calls. */
  readonly fuel: WebAssembly.Global<"i64">;

  /** Of the window that `check_access` found last. */
  readonly window_room: WebAssembly.Global<"i32">;

  /** Once, first: allocates execution states and stacks for this many CPUs. The seed decides all random numbers. */
  init(cpus: number, seed: number): void;
  /** Instead of `init`, over a memory that another instance has initialised: this one runs programs on a CPU of its own. */
  join(cpu: number): void;
  exec_of(cpu: number): number;
  /** Notes a FAULT_ code and an address in the execution state of the run, and traps. */
  fault(code: number, address: number): never;

  /** Zeroed memory, or 0 when it is used up. */
  alloc(size: number, align: number): number;
  free(address: number): void;

  /** Adds a record to the table of regions (REGION_ and RIGHT_ constants); its address, 0 when the memory is used up. */
  region_add(base: number, size: number, kind: number, rights: number, owner: number): number;
  region_remove(base: number): void;
  /** Notes what may be written (WRITE_ record) of the object that begins at an address. */
  region_writes(base: number, writes: number): void;
  region_table(): number;
  region_count(): number;
  /** Where the packet of a context lies, metadata included: 0 if it has none. */
  packet_start(context: number): number;
  packet_end(context: number): number;
  /** A type of objects that programs allocate (CACHE_ descriptor), 0 when the memory is used up. */
  object_cache(size: number, copies: number, type: number, record: number, rights: number): number;
  /** A zeroed object with one reference, 0 when the memory is used up. */
  object_alloc(cache: number, owner: number): number;
  /** One reference less: 1 if it was the last. */
  object_release(object: number): number;
  object_retain(object: number): void;
  /** The object in use that an address lies in, or 0. */
  object_of(address: number): number;
  /** The entry (FIELD_) of the kernel's field that begins at an address, if the program under way may reach it; or 0. */
  field_at(address: number): number;
  /** The field of a FIELD_ kind in the same value or object: its address, or 0. */
  field_beside(address: number, kind: number): number;
  /** Whose the value or object is that an address lies in: a map's descriptor, an object's address, or 0. */
  owner_of(address: number): number;
  /** Takes the bpf_spin_lock from a sandboxed program that has ended with it. */
  end_run(exec: number): void;
  /** Lets a sandboxed program use a map. */
  grant(prog: number, map: number): void;
  /** For compiled sandboxed programs: checks r1 to r5 of the execution state before a helper is called. */
  check_call(id: number, frame: number, pc: number): void;
  /** The same by what is wanted: a POINTER_ constant in a byte for each of r1 to r5. */
  check_contract(contract: bigint, frame: number, pc: number): void;
  /** For `ld_abs` and `ld_ind`. */
  check_packet_context(r6: bigint, pc: number): void;
  /** For one access: the first byte of the window that it lies in. */
  check_access(address: number, shape: number, frame: number, pc: number): number;
  /** 1 if the program under way may touch all of these bytes so. */
  /** Whether the program under way may have a helper read there: its own memory if it is sandboxed, else all that there is. */
  may_probe(address: bigint, size: number): number;
  /** Whose memory it is known to be: a SPACE_ constant, or 0. */
  space_of(address: bigint): number;
  may_access(address: number, size: number, right: number, frame: number): number;

  /** Address of the descriptor, or -errno. */
  map_create(
    type: number,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    flags: number,
    extra?: number,
    inner?: number,
  ): number;
  map_free(map: number): void;
  /** As programs do it, on the current CPU: address of the value or 0. */
  map_lookup_elem(map: number, key: number): number;
  map_update_elem(map: number, key: number, value: number, flags: bigint): number;
  map_delete_elem(map: number, key: number): number;
  /** As bpf(2) does it: per-CPU maps give the values of all CPUs, each rounded up to 8 bytes. 0 or -errno. */
  map_lookup_copy(map: number, key: number, out: number, flags: bigint): number;
  map_update_copy(map: number, key: number, value: number, flags: bigint): number;
  map_delete(map: number, key: number): number;
  map_lookup_and_delete(map: number, key: number, out: number, flags: bigint): number;
  /** From now on the host may not write. 0 or -errno. */
  map_freeze(map: number): number;
  /** All elements of one bucket of a hash to `keys` and `values`: how many, or -ENOSPC. */
  hash_batch(
    map: number,
    bucket: number,
    keys: number,
    values: number,
    room: number,
    flags: bigint,
    drop: number,
  ): number;
  hash_buckets(map: number): number;
  /** What bpf_get_stackid does with the addresses of a stack: its id or -errno. */
  stack_map_put(map: number, addresses: number, count: number, flags: bigint): number;
  /** Zeroed pages of an arena, at `address` if that is not 0; or 0. */
  arena_alloc_pages(map: number, address: number, count: number): number;
  arena_reserve_pages(map: number, address: number, count: number): number;
  arena_free_pages(map: number, address: number, count: number): void;
  /** The key after this one (0: the first) to `next`; -ENOENT after the last. */
  map_get_next_key(map: number, key: number, next: number): number;
  /** Address of the value on a CPU, or 0. */
  map_lookup_percpu(map: number, key: number, cpu: number): number;

  /** A program is going to use a map that holds programs: 0, or -EINVAL if it is of another kind than those. */
  claim_programs(map: number, prog: number): number;

  /** Makes an execution state ready to run a function (FUNC_ descriptor). */
  begin(exec: number, func: number, r1: number, r2: number): void;
  /** Runs at most `budget` instructions; a STATUS_ constant. */
  interpret(exec: number, budget: bigint): number;
  /** Whether the interpreter runs the core's helpers itself (1, the default) or leaves all calls to the host (0). */
  use_core_helpers(on: number): void;
  /** Lets the host take calls of one helper of the core (1), or gives it back (0). */
  replace_helper(id: number, on: number): void;
  /**
   * For a helper of the host: calls a function of the running program (FUNC_ descriptor) in whatever engine runs it, with r1
   * to r5 of the execution state; the result is in r0. A STATUS_ constant.
   */
  call_back(func: number, budget: number): number;
  /** Runs a function by itself, such as a timer's callback, with r1 to r5 of the execution state. A STATUS_ constant. */
  run_callback(exec: number, func: number, compiled: number, budget: number): number;
  /** Runs a compiled function; the result is in r0 of the execution state. */
  run_jit(exec: number, func: number, r1: number, r2: number): void;
  /** Runs a program RUN_COUNT times (RUN_ order) with two arguments; a STATUS_ constant. r0 is in the execution state. */
  run_calls(exec: number, run: number, r1: number, r2: number): number;
  /** Runs a program over records (RUN_ order); a STATUS_ constant. */
  run_batch(exec: number, run: number): number;
  /** The halves of a run over the first record, for a caller that drives the interpreter itself. */
  batch_begin(exec: number, run: number): void;
  batch_end(exec: number, run: number): void;
  /** Packet bytes for `ld_abs` and `ld_ind`, or -1. */
  ld_abs(context: number, offset: number, size: number): bigint;

  /** The last two arguments: the end of the caller's frame, and the address of its instruction. */
  tail_call(context: bigint, map: number, index: number, frame: number, pc: number): number;
  loop(rounds: number, callback: bigint, context: bigint, flags: bigint, frame: number, pc: number): number;
  for_each_map_elem(
    map: number,
    callback: bigint,
    context: bigint,
    flags: bigint,
    frame: number,
    pc: number,
  ): bigint;
  get_prandom_u32(): number;
  /** Address of the record's data, or 0. */
  ringbuf_reserve(map: number, size: bigint, flags: bigint): number;
  ringbuf_submit(sample: number, flags: bigint): number;
  ringbuf_discard(sample: number, flags: bigint): number;
  /** Frames of XDP: bytes that may lie in fragments, and a pointer to a range that lies in one piece, or 0. */
  xdp_get_buff_len(context: number): bigint;
  xdp_load_bytes(context: number, offset: number, to: number, size: number): number;
  xdp_store_bytes(context: number, offset: number, from: number, size: number): number;
  xdp_pull_data(context: number, size: number): number;
  xdp_pointer(context: number, offset: number, size: number): number;
  perf_event_output(context: number, map: number, flags: bigint, data: number, size: bigint): number;
  get_smp_processor_id(): number;
  csum_diff(from: number, fromSize: number, to: number, toSize: number, seed: number): bigint;
  redirect(ifindex: number, flags: bigint): number;
  skb_load_bytes(context: number, offset: number, to: number, size: number): number;
  /** Room for an outer header, whose transport header lies `transport` bytes in unless that is 0. 0 or -ENOMEM. */
  skb_push_outer(context: number, length: number, transport: number): number;
  skb_pop_outer(context: number, length: number): void;
  /** Puts zeros behind the first `offset` bytes of a packet, or takes bytes out there. 0 or -errno. */
  skb_net_push(context: number, offset: number, length: number): number;
  skb_net_pop(context: number, offset: number, length: number): number;
  xdp_adjust_head(context: number, delta: number): number;
  xdp_adjust_meta(context: number, delta: number): number;
  xdp_adjust_tail(context: number, delta: number): number;
}

const PAGE = 0x10000;
// The core's own data begins at 64 KiB and needs less than a page.
const INITIAL_PAGES = 16;
const MAX_PAGES = 65536;

let single: WebAssembly.Module | undefined;
let shareable: WebAssembly.Module | undefined;

/** The module itself, as it is instantiated over memories that no threads share. */
export function coreModule(): Uint8Array {
  return coreWasm();
}

/** Must have come to its end before the core is instantiated over a memory that threads share: most never need that build. */
export async function loadSharedCore(): Promise<void> {
  if (shareable !== undefined) return;
  const { sharedCoreWasm } = await import("./core-shared.wasm.ts");
  shareable = new WebAssembly.Module(sharedCoreWasm());
}

function moduleFor(shared: boolean): WebAssembly.Module {
  if (!shared) return (single ??= new WebAssembly.Module(coreWasm()));
  if (shareable !== undefined) return shareable;
  throw new BpfError("usage", "core: a memory that threads share needs loadSharedCore first");
}

/**
 * A linear memory for a machine. It grows on demand up to `maxBytes` (default and most: 4 GiB), and fresh pages cost
 * nothing until they are touched. A `shared` one can be given to other threads.
 *
 * @throws BpfError code "usage" if `maxBytes` is too small to start with, "memory" if the engine refuses.
 */
export function createMemory({
  maxBytes = MAX_PAGES * PAGE,
  shared = false,
}: {
  maxBytes?: number;
  shared?: boolean;
} = {}): WebAssembly.Memory {
  const maximum = Math.min(Math.floor(maxBytes / PAGE), MAX_PAGES);
  if (!(maximum >= INITIAL_PAGES)) {
    throw new BpfError(
      "usage",
      `memory: ${maxBytes} bytes are too few, at least ${INITIAL_PAGES * PAGE} are needed`,
    );
  }
  try {
    return new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared });
  } catch (cause) {
    throw new BpfError("memory", "memory: the JavaScript engine has no room for a linear memory", { cause });
  }
}

/**
 * Instantiates the core over a memory, in the build that fits it. The module is compiled once and shared by all machines.
 *
 * @throws BpfError code "usage" for a shared memory before {@link loadSharedCore}.
 *
 * @example
 * const memory = createMemory();
 * const table = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
 * const core = instantiateCore({ memory, table, host: { call_helper() {}, call_kfunc() {}, compile_program() {} } });
 * core.init(1, 42);
 * core.alloc(100, 8); // an address
 */
export function instantiateCore({ memory, table, host }: CoreImports): CoreExports {
  const imports = {
    env: { memory, table },
    host: {
      call_helper: host.call_helper,
      call_kfunc: host.call_kfunc,
      compile_program: host.compile_program,
    },
  };
  const shared = typeof SharedArrayBuffer !== "undefined" && memory.buffer instanceof SharedArrayBuffer;
  const instance = new WebAssembly.Instance(moduleFor(shared), imports as unknown as WebAssembly.Imports);
  return instance.exports as unknown as CoreExports;
}
