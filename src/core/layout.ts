/**
 * Where things lie in a machine's linear memory. This one file is compiled twice, by TypeScript for the host and by
 * AssemblyScript for the core, so it holds plain integer constants and nothing else. All offsets are in bytes.
 */

// Addresses below are never handed out, so a NULL pointer with any 16-bit offset hits nothing.
export const FIRST_ADDRESS = 0x10000;

// --- What all instances of the core that share the memory have in common ------------------------------------------------

// It lies at FIRST_ADDRESS, before the core's own data (scripts/build-core.mjs has the same number).
export const CORE_CPUS = 0x10000;
export const CORE_STATES = 0x10004;
// Of the allocator: a lock, the top of the heap, the end of what was in use before, the first large free block.
export const CORE_ALLOC_LOCK = 0x10008;
export const CORE_TOP = 0x1000c;
export const CORE_DIRTY_END = 0x10010;
export const CORE_FIRST_LARGE = 0x10014;
// Counts operations of the host on maps.
export const CORE_OPERATIONS = 0x10018;
// Seed of the hashes of maps (u64).
export const CORE_SEED = 0x10020;
// Regions that sandboxed programs may touch: address, number and room of their records, a lock.
export const CORE_REGIONS = 0x10028;
export const CORE_REGION_COUNT = 0x1002c;
export const CORE_REGION_CAPACITY = 0x10030;
export const CORE_REGION_LOCK = 0x10034;
// Heads of the lists of free blocks, one for each of 53 size classes.
export const CORE_CLASSES = 0x10040;
export const CORE_DATA = 0x10200;

// --- Limits -----------------------------------------------------------------------------------------------------

// linux/bpf_verifier.h MAX_CALL_FRAMES, linux/filter.h MAX_BPF_STACK.
export const MAX_FRAMES = 8;
export const FRAME_SIZE = 512;
export const STACK_SIZE = 4096;
// linux/bpf.h BPF_MAX_LOOPS: how often `may_goto` goes on in one frame, and the most rounds of bpf_loop.
export const MAY_GOTO_LIMIT = 0x800000;
// linux/bpf.h MAX_TAIL_CALL_CNT: tail calls in one run, whoever makes them.
export const MAX_TAIL_CALLS = 33;
// A tail call from a subprogram leaves the frames of its callers where they are, at most MAX_FRAMES - 1 of them, and the
// program that it goes to may need MAX_FRAMES more: 33 * 7 + 8 frames.
export const MAX_NESTED = 239;
export const STACK_BYTES = 122368;

// --- Execution state: one for each CPU ----------------------------------------------------------------------------

// r0 to r10 as 64 bits each. Helpers in TypeScript read r1 to r5 here and leave their result in r0.
export const EXEC_REGS = 0;
// Tail calls that the run has made.
export const EXEC_TAIL_CALLS = 88;
// What a sandboxed run must be rid of at its end: EXEC_LOCK and records of ring buffers, counted. Both words are 0 at the end of most runs.
export const EXEC_HELD = 92;
// Address of the instruction that runs next (interpreter).
export const EXEC_PC = 96;
// Address of the descriptor of the program under way: a tail call changes it, coming back to the caller changes it back.
export const EXEC_PROG = 100;
// Calls under way; 0 in the main function (interpreter).
export const EXEC_DEPTH = 104;
export const EXEC_CPU = 108;
// Lowest address that frames of the program under way may take: STACK_SIZE bytes below the end of its main frame.
export const EXEC_STACK = 112;
// One of the FAULT_ codes, 0 for none; the address of the instruction or memory that it is about.
export const EXEC_FAULT = 116;
export const EXEC_FAULT_ADDRESS = 120;
// Address of the context of the run.
export const EXEC_CTX = 124;
// Instructions executed by the interpreter since `begin` (u64).
export const EXEC_COUNT = 128;
// What the last bpf_redirect asked for: interface index, flags.
export const EXEC_REDIRECT = 136;
export const EXEC_REDIRECT_FLAGS = 140;
// Remaining `may_goto` rounds of the current frame (interpreter).
export const EXEC_MAY_GOTO = 144;
// End of the whole stack, STACK_BYTES: of the main frame of the program that the run began with.
export const EXEC_STACK_END = 148;
// State of this CPU's random number generator (u64, never 0).
export const EXEC_RANDOM = 152;
// The access that a sandboxed program was stopped for: address, bytes, RIGHT_ constant (of a helper's argument: its register
// in bits 8 to 15), end of the frame of the function that made it.
export const EXEC_ACCESS_ADDRESS = 160;
export const EXEC_ACCESS_SIZE = 164;
export const EXEC_ACCESS_RIGHT = 168;
export const EXEC_ACCESS_FRAME = 172;
// Who used the stack last (address of a descriptor, 0: several), and the lowest address that anybody's frames could take since
// it was cleared (0: never used).
export const EXEC_STACK_USER = 352;
export const EXEC_STACK_LOW = 356;
// The windows that the sandboxed interpreter found last: for each register that accesses went through, one for reading and
// one for writing. First byte plus WINDOW_BIAS (so that zero bytes are a window that holds nothing), bytes less 8.
export const EXEC_WINDOWS = 176;
export const EXEC_WRITE_WINDOWS = 264;
export const WINDOW_BIAS = 0x10000;
// MAX_NESTED records of the callers, the main frame's first: r6 to r9 (32 bytes), return address, may_goto rounds, EXEC_PROG
// and EXEC_STACK.
export const EXEC_FRAMES = 360;
export const FRAME_RECORD = 96;
export const FRAME_RECORD_PC = 32;
export const FRAME_RECORD_MAY_GOTO = 36;
export const FRAME_RECORD_PROG = 40;
export const FRAME_RECORD_STACK = 44;
// Of callers that are helpers which call back: first instruction of the callback (interpreter; 0 for plain calls), the
// map (0: bpf_loop), rounds begun, most rounds, the third argument of the helper (u64).
export const FRAME_RECORD_CALLBACK = 48;
export const FRAME_RECORD_MAP = 52;
export const FRAME_RECORD_ROUNDS = 56;
export const FRAME_RECORD_BOUND = 60;
export const FRAME_RECORD_CONTEXT = 64;
// Iteration of a map: next element, next bucket; the index of an array's element; addresses of the key and the value.
export const FRAME_RECORD_ELEMENT = 72;
export const FRAME_RECORD_BUCKET = 76;
export const FRAME_RECORD_INDEX = 80;
export const FRAME_RECORD_KEY = 84;
export const FRAME_RECORD_VALUE = 88;
// What the last bpf_redirect_map found: the map, 0 for none, and the key. The cgroup whose storage bpf_get_local_storage gives.
export const EXEC_REDIRECT_MAP = 23304;
export const EXEC_REDIRECT_KEY = 23308;
export const EXEC_CGROUP = 23312;
// 1 while a thread runs a program on this CPU, where threads share the memory.
export const EXEC_BUSY = 23316;
// Counts runs on this CPU; the bpf_spin_lock that a sandboxed program holds, or 0.
export const EXEC_RUN = 23320;
export const EXEC_LOCK = 23324;
// Whole lines of the cache, two by two as processors fetch them: the states of CPUs that threads run lie side by side.
export const EXEC_SIZE = 23424;

// --- Why a run was stopped ----------------------------------------------------------------------------------------

export const FAULT_NONE = 0;
// The budget of instructions (interpreter) or of back edges and calls (JIT) is used up.
export const FAULT_FUEL = 1;
// More than MAX_FRAMES nested calls.
export const FAULT_CALL_DEPTH = 2;
// An instruction that does not exist.
export const FAULT_INSTRUCTION = 3;
// `callx` of something that is neither a helper id nor a function.
export const FAULT_CALL_TARGET = 4;
// A packet that lies outside of what the batch was given, or is shorter than its metadata; the address is the order's.
export const FAULT_MEMORY = 5;
// A sandboxed program reaches for memory that is not its own: see EXEC_ACCESS_ADDRESS.
export const FAULT_ACCESS = 6;
// A sandboxed program gives a helper what it does not take: something else than a map, a context or a callback.
export const FAULT_ARGUMENT = 7;

// --- Functions and programs -----------------------------------------------------------------------------------------

// A BPF pointer to a function is the address of such a descriptor, in both engines.
// Address of the function's first instruction slot; index in the function table or -1 when not compiled; its program.
export const FUNC_CODE = 0;
export const FUNC_TABLE = 4;
export const FUNC_PROG = 8;
export const FUNC_SIZE = 16;

// A program descriptor begins with the descriptor of its main function.
// uapi program type; address of the first slot of the program and one past its last; id.
export const PROG_TYPE = 16;
export const PROG_CODE = 20;
export const PROG_CODE_END = 24;
export const PROG_ID = 28;
// SAFETY_ constant; list of the maps that a sandboxed program may use (0: none): their number, room for how many, addresses.
export const PROG_SAFETY = 32;
export const PROG_GRANTS = 36;
// One past the last of its function descriptors, which follow the program's own without gaps.
export const PROG_FUNCS_END = 40;
// A u64 for each helper id, and how many of them.
export const PROG_CONTRACTS = 44;
export const PROG_CONTRACTS_COUNT = 48;
// Index in the function table of the compiled function that runs the program many times; 0: there is none.
export const PROG_REPEAT = 52;
// Of struct_ops: the number of the interface whose methods may write members of the kernel's structures, 0 for none.
export const PROG_WRITER = 56;
// The uapi attach type, 0 for none; of XDP programs that take packets in several buffers ATTACH_FRAGS is set as well.
export const PROG_ATTACH = 60;
export const ATTACH_FRAGS = 0x10000;
export const PROG_SIZE = 64;
// In the place of a descriptor's address: a program that does not exist.
export const NO_PROGRAM = 1;

export const GRANTS_COUNT = 0;
export const GRANTS_CAPACITY = 4;
export const GRANTS_LIST = 8;

// What is known of a program: nothing, so every access is checked; or all that is needed, from a verifier or by the host's word.
export const SAFETY_TRUSTED = 0;
export const SAFETY_VERIFIED = 1;
export const SAFETY_SANDBOX = 2;

// What a helper's arguments must be when a sandboxed program calls it: one byte for each of r1 to r5 in a u64 (PROG_CONTRACTS),
// r1's lowest; above them a bit for helpers after which all windows are as they were.
export const CONTRACT_KEEPS_BIT = 40;
export const POINTER_ANY = 0;
// The context of the run; whatever r1 was at the start of the run.
export const POINTER_CONTEXT = 1;
export const POINTER_START = 2;
// A map that the program holds. Key and value to be read, of the map in the last such argument; a value to be written.
export const POINTER_MAP = 3;
export const POINTER_KEY = 4;
export const POINTER_VALUE = 5;
export const POINTER_VALUE_OUT = 6;
// As many bytes as the next argument says, to be read or written; if these are none, the pointer may be anything.
export const POINTER_IN = 7;
export const POINTER_OUT = 8;
// Text that ends with a zero byte.
export const POINTER_STRING = 9;
// Exactly what was handed out: a record of a ring buffer, an object.
export const POINTER_SAMPLE = 10;
export const POINTER_OBJECT = 11;
// A bpf_spin_lock to be taken, while none is held; the one that is held, to be given back.
export const POINTER_LOCK = 12;
export const POINTER_UNLOCK = 13;
// The helper is not for this program.
export const POINTER_REFUSED = 31;
// Added to those above: or NULL.
export const POINTER_NULLABLE = 32;
// So many bytes: added to the number, which is below 64.
export const POINTER_IN_BYTES = 64;
export const POINTER_OUT_BYTES = 128;

// --- Regions: what sandboxed programs may touch -------------------------------------------------------------------------

// A record for each piece of memory, in ascending order of addresses, without overlaps. Sandboxed programs reach the windows
// in it: one of `REGION_SIZE` bytes at `REGION_OFFSET` (stride 0), or one in each block of `REGION_STRIDE` bytes.
export const REGION_BASE = 0;
export const REGION_END = 4;
// KIND_ of region; RIGHT_ constants.
export const REGION_KIND = 8;
export const REGION_RIGHTS = 12;
// Who may: 0 all programs; a map's descriptor (programs that hold the map), a program's, an execution state (runs on that CPU).
export const REGION_OWNER = 16;
export const REGION_STRIDE = 20;
export const REGION_OFFSET = 24;
export const REGION_SIZE = 28;
// Per-CPU values: more windows in the same block, so far apart; how many in all.
export const REGION_COPY_STRIDE = 32;
export const REGION_COPIES = 36;
// A second window of each block, for reading: the key.
export const REGION_KEY = 40;
export const REGION_KEY_SIZE = 44;
// Of objects in the place of the key: a record of what may be written (WRITE_), 0 where nothing may.
export const REGION_WRITES = 40;
// Of records of ring buffers there: the execution state of the run that has reserved it.
export const REGION_RUN = 40;
export const REGION_RECORD = 48;

// The number of entries, then each: offset, bytes, and who: a program type or PROG_WRITER.
export const WRITE_ENTRY = 12;
export const WRITE_OFFSET = 0;
export const WRITE_SIZE = 4;
export const WRITE_WHO = 8;

// Memory that the host lends; a context (CTX_SIZE and CTX_RIGHTS say more); values of a map; a ring buffer's record; an object
// that stands for one of the kernel's. Of each run, without records: the packet and the stack.
export const REGION_MEMORY = 1;
export const REGION_CONTEXT = 2;
export const REGION_MAP_VALUE = 3;
export const REGION_SAMPLE = 4;
export const REGION_OBJECT = 5;
export const REGION_PACKET = 6;
export const REGION_STACK = 7;
// Objects that programs allocate: the owner is their type (a CACHE_ descriptor), what is in use says the header of each.
export const REGION_HEAP = 8;

export const RIGHT_READ = 1;
export const RIGHT_WRITE = 2;
// Of regions beside the rights: memory of a process, or of the kernel alone, which helpers tell apart. What inputs of a run lay out may be either.
export const SPACE_USER = 16;
export const SPACE_KERNEL = 32;

// --- Fields of values and objects that are the kernel's ------------------------------------------------------------------

// A record of them: their number, then for each, ascending, offset, size, a FIELD_ constant, the number of the type that a
// pointer or a root is for (0: none), and where its node lies in that.
export const FIELD_ENTRY = 20;
export const FIELD_OFFSET = 0;
export const FIELD_SIZE = 4;
export const FIELD_KIND = 8;
export const FIELD_TARGET = 12;
export const FIELD_NODE = 16;

export const FIELD_SPIN_LOCK = 1;
export const FIELD_RES_SPIN_LOCK = 2;
export const FIELD_TIMER = 3;
export const FIELD_WQ = 4;
export const FIELD_TASK_WORK = 5;
export const FIELD_KPTR = 6;
export const FIELD_PERCPU_KPTR = 7;
export const FIELD_UPTR = 8;
export const FIELD_LIST_HEAD = 9;
export const FIELD_RB_ROOT = 10;
export const FIELD_LIST_NODE = 11;
export const FIELD_RB_NODE = 12;
export const FIELD_REFCOUNT = 13;
// `kptr_untrusted`: programs store what they like there, and who reads it does not trust it.
export const FIELD_KPTR_UNTRUSTED = 14;

// --- Objects that programs allocate --------------------------------------------------------------------------------------

// A type of objects: bytes of one, distance between the copies for CPUs (0: there is one copy), bytes of a block with header
// and copies, address of the record of its fields, the number of the type, a lock, the list of free blocks (first and last),
// how many blocks the next slab gets, the rights that programs have.
export const CACHE_SIZE = 0;
export const CACHE_COPY_STRIDE = 4;
export const CACHE_BLOCK = 8;
export const CACHE_RECORD = 12;
export const CACHE_TYPE = 16;
export const CACHE_LOCK = 20;
export const CACHE_FREE = 24;
export const CACHE_LAST = 28;
export const CACHE_NEXT_SLAB = 32;
export const CACHE_RIGHTS = 36;
export const CACHE_BYTES = 40;

// Before each object: references (0: free); whose it is: an execution state's, a map's, that of the object at this address,
// 0: everybody's; its type; the next free object.
export const HEAP_HEADER = 16;
export const HEAP_REFERENCES = -16;
export const HEAP_OWNER = -12;
export const HEAP_CACHE = -8;
export const HEAP_NEXT = -4;

// Nodes of lists and trees, at the addresses of which they are linked: the neighbours (0: none) and the head or root that it is in. A list's head
// has the first and the last node, a tree's root the top one.
export const LIST_NEXT = 0;
export const LIST_PREVIOUS = 8;
export const LIST_OWNER = 16;
export const LIST_FIRST = 0;
export const LIST_LAST = 8;
export const TREE_PARENT = 0;
export const TREE_RIGHT = 8;
export const TREE_LEFT = 16;
export const TREE_OWNER = 24;
export const TREE_NODE_SIZE = 32;

// --- Maps -----------------------------------------------------------------------------------------------------------

// A BPF pointer to a map is the address of its descriptor. The first fields are the same for every type.
export const MAP_TYPE = 0;
export const MAP_KEY_SIZE = 4;
export const MAP_VALUE_SIZE = 8;
export const MAP_MAX_ENTRIES = 12;
export const MAP_FLAGS = 16;
export const MAP_ID = 20;
// Address of the first value (arrays: CPU 0's), distance between values, distance between two CPUs' areas.
export const MAP_VALUES = 24;
export const MAP_STRIDE = 28;
export const MAP_CPU_STRIDE = 32;
// Elements present (hashes, tries, queues, program arrays, maps of maps).
export const MAP_COUNT = 36;
// Lock of the map's structure, for memories that threads share.
export const MAP_LOCK = 40;
// The fields of a value that are the kernel's: address of their record (FIELD_), 0 for none. Offset of the bpf_spin_lock in a value, NO_SPIN_LOCK if it has none.
export const MAP_RECORD = 44;
export const MAP_SPIN_LOCK = 48;
export const NO_SPIN_LOCK = 0xffffffff;
// 1 after BPF_MAP_FREEZE.
export const MAP_FROZEN = 52;
// map_extra of BPF_MAP_CREATE, its low half.
export const MAP_EXTRA = 56;
// Of maps of maps: the descriptor of the map that shows what inner maps are like.
export const MAP_INNER = 60;
// From here on private to each type, see assembly/.
export const MAP_PRIVATE = 64;
export const MAP_SIZE = 256;

// Ring buffers lie as in the kernel: three pages, then the data. The first page is the kernel's own; here it begins with
// the map's descriptor and what the map keeps. Producer and consumer position begin the second and third page.
// Address of the ring in the map's descriptor.
export const RING_AT = 64;
export const RING_PAGE = 4096;
export const RING_MAP = 0;
export const RING_MASK = 4;
export const RING_LOCK = 8;
// How often a reader was woken; readers wait for it to change.
export const RING_WAKEUPS = 12;
export const RING_PENDING = 16;
// A user ring buffer is being drained.
export const RING_BUSY = 24;
export const RING_CONSUMER = 0x1000;
export const RING_PRODUCER = 0x2000;
export const RING_DATA = 0x3000;

// A perf buffer of one CPU, whose address a perf event array's slot holds. Size of the data (a power of two), samples lost
// since the last one that was written (and in all), wakeups, whose CPU it is, how many bytes make a wakeup.
export const PERF_SIZE = 0;
export const PERF_LOST = 4;
export const PERF_WAKEUPS = 8;
export const PERF_CPU = 12;
export const PERF_LOCK = 16;
export const PERF_HEAD = 24;
export const PERF_TAIL = 32;
export const PERF_ID = 40;
export const PERF_DATA = 64;

// --- Contexts ---------------------------------------------------------------------------------------------------------

// Before each context lies a header that programs cannot see: what kind of buffer the context describes.
// Addresses of the first and one past the last byte of the packet's buffer; of the link and the network header.
export const CTX_HEADER = 48;
export const CTX_KIND = -4;
export const CTX_HEAD = -8;
export const CTX_END = -12;
export const CTX_MAC = -16;
export const CTX_NET = -20;
// Lowest address of the headroom that a program could have written since the packet was put there.
export const CTX_LOW = -24;
// Bytes of the context; address of one byte of RIGHT_ constants for each of them, or 0 where all may be read and none written.
export const CTX_SIZE = -28;
export const CTX_RIGHTS = -32;
// What a socket buffer knows of itself beside struct __sk_buff, as bits.
export const CTX_SKB = -36;
// The hash is valid (also 0); the packet got an outer header; checksums have been checked, so many levels beyond the first;
// it is to be sent through a tunnel.
export const SKB_HASH_SET = 1;
export const SKB_ENCAPSULATED = 2;
export const SKB_CSUM_UNNECESSARY = 4;
export const SKB_TUNNEL = 8;
export const SKB_CSUM_LEVEL = 0x30;
export const SKB_CSUM_LEVEL_SHIFT = 4;
// The upper half is the length of the link header (mac_len), 0 as long as no helper has set it.
export const SKB_MAC_LEN_SHIFT = 16;
// Where the kernel's buffer would stand, which decides whether it moves, and with it the transport header: upper half the
// bytes before the data, lower half the transport header from the start of the buffer, 0xffff if it is not set.
export const CTX_SKB_HEAD = -40;
export const SKB_NO_TRANSPORT = 0xffff;
// Of an XDP frame that does not fit in its page: first byte and number of those that lie in fragments, pages behind the first one.
export const CTX_FRAGS = -44;
export const CTX_FRAGS_SIZE = -48;
// linux/skbuff.h NET_SKB_PAD on x86-64.
export const SKB_PAD = 64;

export const KIND_NONE = 0;
// struct xdp_md.
export const KIND_XDP = 1;
// struct __sk_buff whose data starts at the link header (sched_cls) or at the network header (socket filters).
export const KIND_SKB_LINK = 2;
export const KIND_SKB_NETWORK = 3;

// uapi/linux/bpf.h struct xdp_md.
export const XDP_DATA = 0;
export const XDP_DATA_END = 4;
export const XDP_DATA_META = 8;
export const XDP_INGRESS_IFINDEX = 12;
export const XDP_RX_QUEUE_INDEX = 16;
export const XDP_EGRESS_IFINDEX = 20;
export const XDP_MD_SIZE = 24;

// uapi/linux/bpf.h struct __sk_buff, the fields that the core sets or reads.
export const SKB_LEN = 0;
export const SKB_PKT_TYPE = 4;
export const SKB_PROTOCOL = 16;
export const SKB_VLAN_PRESENT = 20;
export const SKB_VLAN_TCI = 24;
export const SKB_VLAN_PROTO = 28;
export const SKB_INGRESS_IFINDEX = 36;
export const SKB_IFINDEX = 40;
export const SKB_HASH = 68;
export const SKB_DATA = 76;
export const SKB_DATA_END = 80;
export const SKB_DATA_META = 140;
export const SKB_SK = 168;
export const SKB_GSO_SEGS = 164;
export const SKB_GSO_SIZE = 176;
export const SKB_SIZE = 192;

// uapi/linux/bpf.h struct bpf_sock, what the core writes.
export const SOCK_FAMILY = 4;
export const SOCK_SRC_IP4 = 24;
export const SOCK_SRC_IP6 = 28;
export const SOCK_DST_IP4 = 52;
export const SOCK_DST_IP6 = 56;
export const SOCK_STATE = 72;
export const SOCK_RX_QUEUE_MAPPING = 76;
export const SOCK_SIZE = 80;

// linux/bpf.h XDP_PACKET_HEADROOM.
export const XDP_HEADROOM = 256;
// The page that a frame's buffer is, and how much of it can hold a packet: the rest is struct skb_shared_info, as in the kernel's
// test run. What does not fit goes into fragments, each a page.
export const XDP_PAGE = 4096;
export const XDP_FRAME_END = 3776;
// linux/if_ether.h.
export const ETH_HEADER = 14;

// --- Batches ------------------------------------------------------------------------------------------------------------

// The order for `run_batch`: what to run, over which records.
// Address of the program descriptor; ENGINE_ constant; KIND_ constant.
export const RUN_PROG = 0;
export const RUN_ENGINE = 4;
export const RUN_KIND = 8;
// The context (its header before it), its size, and the bytes it is reset to before each run.
export const RUN_CTX = 12;
export const RUN_CTX_SIZE = 16;
export const RUN_TEMPLATE = 20;
// The packet buffer: address, size, and how many bytes lie before a packet. A packet gets whole pages of it, as many as it needs with
// what lies before it and with RUN_RESERVE bytes behind.
export const RUN_BUFFER = 24;
export const RUN_BUFFER_SIZE = 28;
export const RUN_HEADROOM = 32;
// Address of the records (RECORD_) that say more of each packet and its run, 0 for none; number of packets; how often each is run (the
// last run counts); index of the first to run.
export const RUN_RECORDS = 36;
export const RUN_COUNT = 40;
export const RUN_REPEAT = 44;
// In and out: index of the packet that runs next. After a fault it is the index of the packet at fault.
export const RUN_NEXT = 48;
// Where packets are kept after the run: next free address (in and out), end, and for which results: bit
// min(result, 31), the result read as unsigned, of the mask. The batch pauses when the next packet might not fit.
export const RUN_OUT = 52;
export const RUN_OUT_END = 56;
export const RUN_KEEP = 60;
// Instructions or back edges and calls that each run may take (u64).
export const RUN_FUEL = 64;
// Of frames: bytes of metadata that each packet's bytes begin with; how many bytes, with those, may lie outside of fragments (0: as
// many as fit).
export const RUN_META = 72;
export const RUN_LINEAR = 76;
// Of socket buffers: where the struct bpf_sock lies that each packet gets, its ends the packet's (0: none).
export const RUN_SOCKET = 80;
// Bytes at the end of a packet's pages that hold no packet data.
export const RUN_RESERVE = 84;
// Where the first packet's offset and length stand and where its result goes, and how far it is from each of them to the next one's:
// three arrays of u32, or fields of records.
export const RUN_OFFSETS = 88;
export const RUN_LENGTHS = 92;
export const RUN_RESULTS = 96;
export const RUN_STRIDE = 100;
// The bytes of all packets: address and size; the offset of the first of them.
export const RUN_INPUT = 104;
export const RUN_INPUT_SIZE = 108;
export const RUN_BASE = 112;
// Where there are no records: the list of kept packets (KEPT_), and how many there are on it.
export const RUN_KEPT = 116;
export const RUN_KEPT_COUNT = 120;
export const RUN_SIZE = 128;

// A packet that was kept: its index, its address and length, bytes of metadata before it.
export const KEPT_INDEX = 0;
export const KEPT_OUT = 4;
export const KEPT_OUT_LENGTH = 8;
export const KEPT_META = 12;
export const KEPT_SIZE = 16;

export const ENGINE_INTERPRETER = 0;
export const ENGINE_JIT = 1;

// One record: the packet's bytes as captured, its length; out: result, the kept packet (0 if not kept) and its length.
export const RECORD_ORIGIN = 0;
export const RECORD_LENGTH = 4;
export const RECORD_RESULT = 8;
export const RECORD_OUT = 12;
export const RECORD_OUT_LENGTH = 16;
// What bpf_redirect_map chose: the key here, the map below (0 for none).
export const RECORD_REDIRECT_KEY = 20;
// Ingress interface (0: as the template says); what bpf_redirect asked for.
export const RECORD_IFINDEX = 24;
export const RECORD_REDIRECT = 28;
// Bytes of metadata before the kept packet: they are kept too, and end where RECORD_OUT points.
export const RECORD_META = 32;
export const RECORD_REDIRECT_MAP = 36;
export const RECORD_SIZE = 40;

// --- Self-contained modules (aot/) -----------------------------------------------------------------------------------------

// What such a module finds in its memory when it starts: numbers and addresses of programs (EMBED_PROGRAM_SIZE bytes each) and
// of maps (u32 each, a descriptor's address).
export const EMBED_PROGRAMS = 0;
export const EMBED_PROGRAM_LIST = 4;
export const EMBED_MAPS = 8;
export const EMBED_MAP_LIST = 12;
// The record of single runs.
export const EMBED_RECORD = 16;
// The description as JSON: address and size.
export const EMBED_MANIFEST = 20;
export const EMBED_MANIFEST_SIZE = 24;
// Areas that grow when a run needs more, each an address and a size: packets of the host, packet buffer, kept packets.
export const EMBED_INPUT = 28;
export const EMBED_BUFFER = 36;
export const EMBED_OUT = 44;
export const EMBED_SIZE = 56;

// An order (RUN_).
export const EMBED_PROGRAM_SIZE = 128;

// Statuses of `run_batch` and `interpret`.
export const STATUS_DONE = 0;
// interpret: the step budget is used up, call again to go on. run_batch: packet buffer or out area have no room for the next packet.
export const STATUS_PAUSED = 1;
// EXEC_FAULT says why.
export const STATUS_FAULT = 2;
