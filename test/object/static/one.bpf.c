#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "shared.h"

char LICENSE[] SEC("license") = "GPL";
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16);
  __type(key, int);
  __type(value, struct shared);
} flows SEC(".maps");
int counter = 5;
static volatile int private = 7;
const volatile long limit = 1000;
int zeroed;
__weak int choose(int a) { return a + 1; }
static __attribute__((noinline)) int helper(struct shared *s) { return s->a + private; }
int twice(int a);
extern int LINUX_KERNEL_VERSION __kconfig;

SEC("xdp") int first(struct xdp_md *ctx) {
  int key = 1;
  struct shared *found = bpf_map_lookup_elem(&flows, &key);
  counter++;
  zeroed += 3;
  if (!found) return choose(limit) + twice(counter);
  return helper(found) + LINUX_KERNEL_VERSION;
}
