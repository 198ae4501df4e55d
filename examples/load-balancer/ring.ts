/** Entries of a ring in `load-balancer.bpf.c`: a prime. */
export const RING_SIZE = 1021;

/** FNV-1a over a text: a number of 32 bits that depends on nothing else. */
function hash(text: string, seed: number): number {
  let value = (0x811c9dc5 ^ seed) >>> 0;
  for (const letter of text) value = Math.imul(value ^ letter.charCodeAt(0), 0x01000193) >>> 0;
  return value;
}

/**
 * A lookup table of consistent hashing: each server walks over the entries in an order of its own, and they take turns in
 * claiming the next free one. All get about the same number of entries, and when a server goes, few entries of the others change.
 *
 * @param servers names of servers by number; undefined for numbers that are not in use
 * @returns the number of a server for each entry
 */
export function fillRing(servers: readonly (string | undefined)[]): number[] {
  const ring = new Array<number>(RING_SIZE).fill(-1);
  const walks = servers.flatMap((name, number) =>
    name === undefined
      ? []
      : [{ number, next: hash(name, 1) % RING_SIZE, step: (hash(name, 2) % (RING_SIZE - 1)) + 1 }],
  );
  if (walks.length === 0) return ring;
  for (let filled = 0; filled < RING_SIZE; ) {
    for (const walk of walks) {
      while (ring[walk.next] !== -1) walk.next = (walk.next + walk.step) % RING_SIZE;
      ring[walk.next] = walk.number;
      if (++filled === RING_SIZE) break;
    }
  }
  return ring;
}
