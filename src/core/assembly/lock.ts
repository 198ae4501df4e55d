/**
 * Spin locks, for memories that threads share. In a core that is built for one thread they cost nothing: there a map
 * operation cannot meet another one.
 */

/** Waits for the word at `address` to become 0 and makes it 1. */
export function lock(address: u32): void {
  if (ASC_FEATURE_THREADS) acquire(address);
}

export function unlock(address: u32): void {
  if (ASC_FEATURE_THREADS) atomic.store<i32>(address, 0);
}

function acquire(address: u32): void {
  while (atomic.cmpxchg<i32>(address, 0, 1) != 0) {
    while (atomic.load<i32>(address) != 0) {}
  }
}

/** Adds to a counter; what it was before. */
export function addTo(address: u32, amount: u32): u32 {
  if (ASC_FEATURE_THREADS) return atomic.add<u32>(address, amount);
  const before = load<u32>(address);
  store<u32>(address, before + amount);
  return before;
}

/** Takes the lock that a program has put into a value (struct bpf_spin_lock): 1 while it is held. */
export function spinLock(address: u32): void {
  if (ASC_FEATURE_THREADS) acquire(address);
  else store<u32>(address, 1);
}

export function spinUnlock(address: u32): void {
  if (ASC_FEATURE_THREADS) atomic.store<i32>(address, 0);
  else store<u32>(address, 0);
}
