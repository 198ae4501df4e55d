/** What the compiler is told of the maps that a sandboxed program holds, so that it need not check at run time what is certain. */
import { CONTRACT_KEEPS_BIT, RIGHT_READ, RIGHT_WRITE } from "../core/layout.ts";
import type { Sandbox } from "../jit/index.ts";
import { MAP_FLAGS, type MapType } from "../uapi/index.ts";
import { argumentKinds } from "./helpers/contracts.ts";
import type { BpfMap } from "./map.ts";

/** In which a lookup finds a value, and one that stays the map's as long as the map lives. */
const PLAIN: readonly MapType[] = [
  "array",
  "percpu_array",
  "hash",
  "lru_hash",
  "percpu_hash",
  "lru_percpu_hash",
  "lpm_trie",
];

const KEEPS = 1n << BigInt(CONTRACT_KEEPS_BIT);

/** As rightsOf of the core. */
function rightsOf({ flags }: BpfMap): number {
  if ((flags & MAP_FLAGS.rdonly_prog) !== 0) return RIGHT_READ;
  return (flags & MAP_FLAGS.wronly_prog) !== 0 ? RIGHT_WRITE : RIGHT_READ | RIGHT_WRITE;
}

/** Whether bytes lie in one value of an array that all CPUs share: a global variable, mostly. */
function reaches(map: BpfMap, address: number, bytes: number, right: number): boolean {
  const { arrayLayout: layout } = map;
  if (layout === undefined || layout.cpuStride !== 0 || (rightsOf(map) & right) !== right) return false;
  const { values, stride, maxEntries } = layout;
  const distance = address - values;
  if (distance < 0 || distance >= stride * maxEntries) return false;
  const from = distance % stride;
  const free = map.fields.every(({ offset, size }) => from + bytes <= offset || from >= offset + size);
  return free && from + bytes <= map.valueSize;
}

/** `contracts`: see helperContracts. */
export function sandboxOf(contracts: BigUint64Array, maps: readonly BpfMap[]): Sandbox {
  const byAddress = new Map(maps.map((map) => [map.address, map]));
  return {
    arguments: (helper) => argumentKinds(contracts[helper] ?? 0n),
    keeps: (helper) => ((contracts[helper] ?? 0n) & KEEPS) !== 0n,
    map: (address) => {
      const map = byAddress.get(address);
      if (map === undefined) return undefined;
      const { keySize, valueSize } = map;
      return {
        keySize,
        valueSize,
        rights: PLAIN.includes(map.type) && map.fields.length === 0 ? rightsOf(map) : 0,
      };
    },
    reaches: (address, bytes, right) => maps.some((map) => reaches(map, address, bytes, right)),
  };
}
