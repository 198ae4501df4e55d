/** Which programs may use which maps at all (check_map_prog_compatibility of kernel/bpf/verifier.c). */
import type { Environment } from "./environment.ts";
import type { VerifierMap } from "./input.ts";
import { mapHolds } from "./kernel-types/record.ts";

const SLEEPABLE_MAPS: ReadonlySet<string> = new Set([
  "hash",
  "lru_hash",
  "array",
  "percpu_hash",
  "percpu_array",
  "lru_percpu_hash",
  "array_of_maps",
  "hash_of_maps",
  "ringbuf",
  "user_ringbuf",
  "inode_storage",
  "sk_storage",
  "task_storage",
  "cgrp_storage",
  "queue",
  "stack",
  "arena",
]);

/** Types that may interrupt anything (is_tracing_prog_type). */
const TRACING: ReadonlySet<string> = new Set([
  "kprobe",
  "tracepoint",
  "perf_event",
  "raw_tracepoint",
  "raw_tracepoint_writable",
]);

export function checkMapUse(env: Environment, map: VerifierMap): void {
  const refuse = (message: string): unknown => env.reject("EINVAL", message);
  // An extension is not known by the type that it extends yet.
  const tracing = TRACING.has(env.type) && !env.isExtension;
  if (tracing && mapHolds(map, "list_head", "rb_root")) {
    throw refuse("tracing progs cannot use bpf_{list_head,rb_root} yet");
  }
  if (mapHolds(map, "spin_lock", "res_spin_lock")) {
    if (env.type === "socket_filter" && !env.isExtension)
      throw refuse("socket filter progs cannot use bpf_spin_lock yet");
    if (tracing) throw refuse("tracing progs cannot use bpf_spin_lock yet");
  }
  if (tracing && mapHolds(map, "timer")) throw refuse("tracing progs cannot use bpf_timer yet");
  if (tracing && mapHolds(map, "wq")) throw refuse("tracing progs cannot use bpf_wq yet");
  if (map.type === "struct_ops") throw refuse("bpf_struct_ops map cannot be used in prog");
  if (env.program.sleepable === true && !SLEEPABLE_MAPS.has(map.type)) {
    throw refuse("Sleepable programs can only use array, hash, ringbuf and local storage maps");
  }
  if (map.type !== "arena") return;
  if (env.arena !== undefined) throw env.reject("EBUSY", "Only one arena per program");
  if (!env.hasPerfmon || !env.hasBpf) {
    throw env.reject("EPERM", "CAP_BPF and CAP_PERFMON are required to use arena");
  }
  env.arena = map;
}
