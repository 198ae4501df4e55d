/** Where the map types keep their own fields in a descriptor, and the layout of hash elements. */
import { MAP_PRIVATE } from "../../layout";

// The pool of elements (elements.ts): bytes of a block; first block that came back; next fresh block and end of the
// piece that it lies in; blocks that no piece holds yet; list of the pieces; blocks of the next piece; blocks that
// came back during the run under way (first, last, number of that run).
export const POOL_STRIDE = MAP_PRIVATE;
export const POOL_FREE = MAP_PRIVATE + 4;
export const POOL_FRESH = MAP_PRIVATE + 8;
export const POOL_END = MAP_PRIVATE + 12;
export const POOL_LEFT = MAP_PRIVATE + 16;
export const POOL_PIECES = MAP_PRIVATE + 20;
export const POOL_NEXT_PIECE = MAP_PRIVATE + 24;
export const POOL_WAITING = MAP_PRIVATE + 28;
export const POOL_LAST_WAITING = MAP_PRIVATE + 32;
export const POOL_WAITING_RUN = MAP_PRIVATE + 36;
const AFTER_POOL = MAP_PRIVATE + 40;

// Hashes: address of the buckets, their number less one; distance from an element to its (first CPU's) value; address
// of the spare elements, one for each CPU.
export const HASH_BUCKETS = AFTER_POOL;
export const HASH_MASK = AFTER_POOL + 4;
export const HASH_VALUE = AFTER_POOL + 8;
export const HASH_SPARES = AFTER_POOL + 12;
export const AFTER_HASH = AFTER_POOL + 16;

// Tries: address of the root or 0; bytes of data in a key; distance from a node to its value. The table of shortcuts (0 while it
// is stale), its memory and for how many bits that is; bits that the table steps over and bits that it is indexed by, the
// first bits of all keys (u64); lookups since there was a table; changes begun and done.
export const TRIE_ROOT = AFTER_POOL;
export const TRIE_DATA_SIZE = AFTER_POOL + 4;
export const TRIE_VALUE = AFTER_POOL + 8;
export const TRIE_SHORTCUTS = AFTER_POOL + 12;
export const TRIE_LEAD = AFTER_POOL + 16;
export const TRIE_MEMORY = AFTER_POOL + 24;
export const TRIE_MEMORY_BITS = AFTER_POOL + 28;
export const TRIE_SKIP = AFTER_POOL + 32;
export const TRIE_BITS = AFTER_POOL + 36;
export const TRIE_MISSES = AFTER_POOL + 40;
export const TRIE_CHANGES = AFTER_POOL + 44;

// Queues and stacks: the oldest value's place.
export const QUEUE_HEAD = MAP_PRIVATE;

// Bloom filters: number of bits less one, hash functions, seed.
export const BLOOM_MASK = MAP_PRIVATE;
export const BLOOM_HASHES = MAP_PRIVATE + 4;
export const BLOOM_SEED = MAP_PRIVATE + 8;

// Stack traces: address of the table of traces, its size less one.
export const STACKS_TABLE = AFTER_POOL;
export const STACKS_MASK = AFTER_POOL + 4;

// Local storage: keys, one for each CPU; a value of zeros. Behind the lists of LRU maps.
export const STORAGE_KEY = AFTER_HASH + 24;
export const STORAGE_ZERO = AFTER_HASH + 28;

// Arenas: address of the first page, number of pages, first page that was never handed out, address of the bitmap.
export const ARENA_START = MAP_PRIVATE;
export const ARENA_PAGES = MAP_PRIVATE + 4;
export const ARENA_BITMAP = MAP_PRIVATE + 8;

// Program arrays, device and CPU maps: the kind of programs that they hold, 0 if it is not known yet. Some are hashes.
export const PROGRAMS_OWNER = AFTER_HASH;

// An element of a hash: the next of its chain, its hash, its key.
export const ELEMENT_HASH = 4;
export const ELEMENT_KEY = 8;

// In front of an element of an LRU hash lies a node: its neighbours in the list, its reference bit, its list.
export const LRU_NODE = 16;
export const LRU_PREVIOUS = 0;
export const LRU_NEXT = 4;
export const LRU_REFERENCED = 8;
export const LRU_ACTIVE = 9;
