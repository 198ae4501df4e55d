#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "shared.h"

char LICENSE[] SEC("license") = "GPL";
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, int);
  __type(value, struct list);
} lists SEC(".maps");
extern int counter;
int another = 11;
static volatile int private = 9;
extern int LINUX_KERNEL_VERSION __kconfig;
extern const void bpf_init __ksym;
const char message[] = "a string of the second";
int choose(int a) { return a + 2 + private; }
static __attribute__((noinline)) int helper(struct shared *s) { return s->b * private; }
int twice(int a) { struct shared s = {a, a}; return helper(&s) + LINUX_KERNEL_VERSION; }

static long visit(__u32 index, void *ctx) { *(int *)ctx += index + private; return 0; }

SEC("xdp") int second(struct xdp_md *ctx) {
  int key = 0, sum = 0;
  bpf_loop(3, visit, &sum, 0);
  struct list *l = bpf_map_lookup_elem(&lists, &key);
  return (l ? l->n : 0) + counter + another + sum + message[key & 7];
}
SEC("tc") int third(struct __sk_buff *ctx) { return choose(ctx->len) + (&bpf_init != 0); }
