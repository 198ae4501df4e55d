/** What a test says of the world around a machine. Everything may be left out. */

/** A network device. */
export interface InterfaceOptions {
  readonly name: string;
  /** Default: the next free number. `lo` is 1. */
  readonly ifindex?: number;
  /** Default 1500, of `lo` 65536. */
  readonly mtu?: number;
  /** Default 02:00:00:00:00:XX with the low byte of the index; of `lo` zero. */
  readonly mac?: string;
  /** Addresses with their prefix lengths, "10.0.0.1/24": each makes a route to its network. */
  readonly addresses?: readonly string[];
  /** Whether packets that arrive here may be forwarded: net.ipv4.conf.NAME.forwarding. Default true. */
  readonly forwarding?: boolean;
  /** Default true. */
  readonly up?: boolean;
  /** Index or name of the device at the other end of a veth or netkit pair, for bpf_redirect_peer. */
  readonly peer?: number | string;
}

/** What becomes of packets to a prefix. */
export interface RouteOptions {
  /** "10.0.0.0/8", "fd00::/8", "default" or "default6". */
  readonly to: string;
  /** The gateway; without it the network is on the link. */
  readonly via?: string;
  /** Name or index of the interface. Default: the one whose network holds the gateway. */
  readonly dev?: string | number;
  /** Preferred source address, for BPF_FIB_LOOKUP_SRC. Default: the interface's first. */
  readonly source?: string;
  readonly mtu?: number;
  /** Default 254, the main table. */
  readonly table?: number;
  /** Default 0; the lowest wins. */
  readonly metric?: number;
  readonly type?: "unicast" | "blackhole" | "unreachable" | "prohibit" | "local" | "broadcast" | "multicast";
  /** Default 0. */
  readonly tos?: number;
}

/** A link-layer address that is known. */
export interface NeighbourOptions {
  readonly address: string;
  readonly dev: string | number;
  readonly mac: string;
}

export type SocketState =
  | "established"
  | "syn_sent"
  | "syn_recv"
  | "fin_wait1"
  | "fin_wait2"
  | "time_wait"
  | "close"
  | "close_wait"
  | "last_ack"
  | "listen"
  | "closing"
  | "new_syn_recv";

/** A socket that bpf_sk_lookup_tcp and its kin find. */
export interface SocketOptions {
  readonly protocol: "tcp" | "udp";
  /** "10.0.0.1:80", "[fd00::1]:80"; "0.0.0.0:80" listens on every address. */
  readonly local: string;
  /** The other end, of a connected socket. */
  readonly remote?: string;
  /** Default: "established" with a remote end, "listen" (TCP) or "close" (UDP) without. */
  readonly state?: SocketState;
  /** bound_dev_if: name or index. */
  readonly dev?: string | number;
  readonly mark?: number;
  readonly priority?: number;
  readonly rxQueue?: number;
  /** Of its owner. Default 0. */
  readonly uid?: number;
  /** Path of its cgroup. Default "/". */
  readonly cgroup?: string;
  /** Network namespace id, as bpf_sk_lookup_* name it. Default 0, the machine's own. */
  readonly netns?: number;
  /** Fields of struct bpf_tcp_sock by name, such as `snd_cwnd`. */
  readonly tcp?: Readonly<Record<string, number | bigint>>;
  /** Values of socket options as getsockopt gives them, numbers as an int: `{ "SOL_SOCKET.SO_RCVBUF": 212992 }`. */
  readonly options?: Readonly<Record<string, number | string | Uint8Array>>;
  /** Of a listener: so many connections have begun that it answers with SYN cookies. Default false. */
  readonly flooded?: boolean;
  /** Default: the next free number from 1 on. */
  readonly cookie?: bigint;
  /** Address of a struct tcp_sock, udp6_sock, ... in the machine's memory, for bpf_skc_to_tcp_sock and its kin. */
  readonly object?: number;
}

/** A thread of a process. */
export interface TaskOptions {
  /** Its thread id, what the kernel calls pid. */
  readonly pid: number;
  /** What user space calls the process id. Default: `pid`. */
  readonly tgid?: number;
  /** At most 15 bytes. Default "skep". */
  readonly comm?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** Path of its cgroup. Default "/". */
  readonly cgroup?: string;
  /** The pid of its parent. */
  readonly parent?: number;
  /** Address of a struct task_struct in the machine's memory, for bpf_get_current_task. */
  readonly object?: number;
  /** Address of a struct pt_regs in the machine's memory, for bpf_task_pt_regs. */
  readonly registers?: number;
  /** Addresses of the calls that it is in, the innermost first: in the kernel, and in user space. For bpf_get_stack and its kin. */
  readonly stack?: readonly bigint[];
  readonly userStack?: readonly bigint[];
  /** pid and tgid as they are in another pid namespace, by that namespace's device and inode: bpf_get_ns_current_pid_tgid. */
  readonly namespaces?: readonly { dev: bigint; ino: bigint; pid: number; tgid: number }[];
  /** Address of the struct file of the program that it runs; 0 for a thread of the kernel. */
  readonly exe?: number;
  /** Memory areas, for bpf_find_vma. */
  readonly vmas?: readonly VmaOptions[];
}

/** A memory area of a process. */
export interface VmaOptions {
  readonly start: bigint | number;
  readonly end: bigint | number;
  /** Address of a struct vm_area_struct in the machine's memory. */
  readonly object: number;
}

/** A control group. The root "/" has id 1. */
export interface CgroupOptions {
  readonly path: string;
  /** Default: the next free number. */
  readonly id?: number | bigint;
  /** net_cls.classid. Default 0. */
  readonly classid?: number;
  /** Address of a struct cgroup in the machine's memory, for bpf_cgroup_from_id and its kin. */
  readonly object?: number;
}

/** Everything around a machine. */
export interface WorldOptions {
  /** Beside `lo`, which is always there. */
  readonly interfaces?: readonly InterfaceOptions[];
  readonly routes?: readonly RouteOptions[];
  readonly neighbours?: readonly NeighbourOptions[];
  readonly sockets?: readonly SocketOptions[];
  readonly cgroups?: readonly CgroupOptions[];
  /** All processes that programs can find by their number. */
  readonly tasks?: readonly TaskOptions[];
  /** The one that runs: its pid, or itself. Default: a process 1000 "skep" of user 0 in the root cgroup. */
  readonly current?: number | TaskOptions;
  /** Ticks a second: bpf_jiffies64 counts them. Default 1000. */
  readonly hz?: number;
  /** Nanoseconds since 1970 at which the machine's clock was 0. Without it programs cannot ask for the time of day. */
  readonly bootTime?: bigint;
  /** Seconds by which International Atomic Time is ahead of UTC. Default 37. */
  readonly taiOffset?: number;
  /** NUMA node of each CPU; 0 where absent. */
  readonly numaNodes?: readonly number[];
  /** Cookie of the machine's network namespace. Default 1. */
  readonly netnsCookie?: bigint;
  /** net.ipv4.tcp_syncookies: 0 never, 1 (the default) by listeners that are flooded, 2 always. */
  readonly synCookies?: 0 | 1 | 2;
  /** Paths that bpf_d_path gives, by the address of the struct path. */
  readonly paths?: ReadonlyMap<number, string>;
  /** What netfilter tracks: bpf_xdp_ct_lookup and its kin. */
  readonly connections?: readonly ConnectionOptions[];
  /** Extended attributes of files, directory entries and control groups, by the address of their structure. */
  readonly xattrs?: ReadonlyMap<number, ReadonlyMap<string, Uint8Array>>;
  /** Serial numbers of the keys that bpf_lookup_user_key finds. */
  readonly keys?: readonly number[];
  /** Ciphers by the kernel's names, "ecb(aes)": bpf_crypto_encrypt and its kin. */
  readonly ciphers?: Readonly<Record<string, Cipher>>;
  /** Caches of the kernel's allocator: bpf_get_kmem_cache, bpf_iter_kmem_cache_new. */
  readonly slabCaches?: readonly SlabCache[];
  /** Addresses of the struct dma_buf of buffers that devices share: bpf_iter_dmabuf_new. */
  readonly dmaBuffers?: readonly number[];
  /** What was measured of files, by the address of the struct file or inode (bpf_ima_file_hash); null: nothing. */
  readonly digests?: ReadonlyMap<number, Digest | null>;
  /** The struct socket behind a struct file, by their addresses (bpf_sock_from_file); 0 for what is no socket's file. */
  readonly fileSockets?: ReadonlyMap<number, number>;
  /** Names and addresses of kernel symbols: %ps, %pS and %pB print them, bpf_kallsyms_lookup_name finds them. */
  readonly symbols?: Readonly<Record<string, bigint>>;
  /** What perf events have counted, by the name of the perf event array and the index in it: bpf_perf_event_read and its kin. */
  readonly counters?: Readonly<Record<string, readonly (PerfCounter | undefined)[]>>;
}

/** A cache of the kernel's allocator. */
export interface SlabCache {
  /** Address of its struct kmem_cache. */
  readonly object: number;
  /** Where its objects lie: addresses from the first up to, not including, the second. */
  readonly holds?: readonly (readonly [start: bigint | number, end: bigint | number])[];
}

/** A connection that netfilter tracks. */
export interface ConnectionOptions {
  readonly protocol: "tcp" | "udp";
  /** The ends of its first packet, "10.0.0.1:4000". */
  readonly source: string;
  readonly destination: string;
  /** Default 0. */
  readonly zone?: number;
  /** IPS_ bits; confirmed it is always. */
  readonly status?: number;
  /** Ticks that it has left. */
  readonly timeout?: number;
  readonly mark?: number;
}

/** A cipher of the kernel's crypto API, from a library of the host's. */
export interface Cipher {
  /** Bytes that a key may have. */
  readonly keySizes: readonly number[];
  /** Bytes of the initialisation vector; 0 if it needs none. */
  readonly ivSize: number;
  /** undefined for data of a length that it does not take. */
  encrypt(key: Uint8Array, data: Uint8Array, iv: Uint8Array): Uint8Array | undefined;
  decrypt(key: Uint8Array, data: Uint8Array, iv: Uint8Array): Uint8Array | undefined;
}

/** What the kernel's integrity measurement knows of a file. */
export interface Digest {
  /** "sha256", as the kernel names it. */
  readonly algorithm: string;
  readonly digest: Uint8Array;
}

/** What a perf event has counted. */
export interface PerfCounter {
  readonly counter: number | bigint;
  /** Nanoseconds for which the event was enabled, and counted. Default 0. */
  readonly enabled?: number | bigint;
  readonly running?: number | bigint;
}

export const WORLD_OPTION_NAMES: readonly (keyof WorldOptions)[] = [
  "interfaces",
  "routes",
  "neighbours",
  "sockets",
  "cgroups",
  "tasks",
  "current",
  "hz",
  "bootTime",
  "taiOffset",
  "numaNodes",
  "netnsCookie",
  "synCookies",
  "paths",
  "connections",
  "xattrs",
  "keys",
  "ciphers",
  "slabCaches",
  "dmaBuffers",
  "digests",
  "fileSockets",
  "symbols",
  "counters",
];
