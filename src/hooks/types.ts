import type { AttachType, ProgramType } from "../uapi/index.ts";

/**
 * Which loads or stores of a field the verifier takes. Each must be aligned to its own size, counted from the start of
 * the context.
 */
export interface AccessRule {
  /** Bytes that one instruction may move. A size above the field's own takes its neighbour with it. */
  readonly sizes: readonly number[];
  /** Also at offsets inside an element (narrow loads); else at an element's first byte only. */
  readonly inside?: true;
  /** For programs with one of these attach types only. */
  readonly only?: readonly AttachType[];
}

/**
 * What the register holds after a field was loaded. The names are the verifier's register types: `packet` is PTR_TO_PACKET,
 * `sock_common_or_null` PTR_TO_SOCK_COMMON_OR_NULL, and so on; `btf` is a trusted pointer to the kernel's struct
 * {@link ContextField.btf}.
 */
export type FieldKind =
  | "scalar"
  | "packet"
  | "packet_meta"
  | "packet_end"
  | "socket"
  | "socket_or_null"
  | "sock_common_or_null"
  | "flow_keys"
  | "tp_buffer"
  | "btf";

/** A field of a context, at its offset in the uapi struct; `count` makes it an array. */
export interface ContextField {
  readonly name: string;
  readonly offset: number;
  /** Bytes of one element: 1, 2, 4 or 8. */
  readonly size: 1 | 2 | 4 | 8;
  readonly count?: number;
  /** The kernel keeps so many bits of it only: what is stored above them is gone when it is read again. */
  readonly bits?: 16;
  /**
   * Bytes of the kernel's own field where it has fewer: a load of at least so many that is narrower than the field gives all of it,
   * wherever in the field it is.
   */
  readonly kept?: 1 | 2;
  /** Read as a signed number. */
  readonly signed?: true;
  /** A run's input may set it (the others are computed from the packet, the socket, ...). */
  readonly input?: boolean;
  /** Loads that the verifier takes; none if absent. */
  readonly read?: AccessRule;
  /** Stores that the verifier takes; none if absent. */
  readonly write?: AccessRule;
  /** Default "scalar". A field that holds a pointer takes no sign-extending load. */
  readonly kind?: FieldKind;
  /** The kernel's struct behind kind "btf". */
  readonly btf?: string;
  /** It has no name in the header: bytes between fields that old programs read with their neighbour. */
  readonly padding?: true;
}

/** A part of a context without fields of its own, where any access goes that is aligned and inside. */
export interface OpenRange {
  readonly from: number;
  readonly to: number;
  readonly write: boolean;
  /** The end is where the last access may begin, not where it must end (tracepoints and syscall programs). */
  readonly last?: true;
}

/** What a program of a type is given in r1. */
export interface ContextLayout {
  /** The struct's name in uapi/linux/bpf.h, or the kernel's own. */
  readonly struct: string;
  readonly size: number;
  readonly fields: readonly ContextField[];
  /** Where offsets rather than fields are checked: registers, the record of a tracepoint, a system call's argument. */
  readonly open?: OpenRange;
  /**
   * The context is an array of u64 arguments whose types are those of a kernel function in BTF: of the function or
   * tracepoint that is attached to, the LSM hook, the iterator's target, the method of a struct_ops.
   */
  readonly arguments?: true;
}

/** A return value and its name in the uapi headers. */
export interface ReturnValue {
  readonly value: number;
  readonly name: string;
}

/** What programs may answer; the first rule whose attach types fit counts. */
export interface ReturnRule {
  /** For these attach types; for all if absent. */
  readonly only?: readonly AttachType[];
  /** In the order in which tables show them. */
  readonly values: readonly ReturnValue[];
  /** Smallest and largest value that the verifier lets a program return; any if absent. */
  readonly range?: readonly [min: number, max: number];
  /** Values are errors: 0, or an errno negated. */
  readonly errno?: true;
}

/** What happens to the packet after a return value. */
export type Fate = "pass" | "drop";

/** How a program type takes packets from a capture. */
export interface PacketRules {
  /** KIND_ constant of core/layout.ts. */
  readonly kind: number;
  /** What becomes of the packet. */
  fate(returnValue: number): Fate;
  /** Bit min(result, 31) is set for those results after which the packet goes on: RUN_KEEP of core/layout.ts. */
  readonly passMask: number;
  /** Link types of captures whose packets the type can take, by LINKTYPE_ value. */
  readonly linktypes: readonly number[];
  /** Bytes of free space before a packet. */
  readonly headroom: number;
  /** Bytes at the end of the packet buffer that hold no packet data (struct skb_shared_info). */
  readonly tailReserve: number;
}

/** A program type: its context, and what its results mean. */
export interface Hook {
  readonly type: ProgramType;
  readonly title: string;
  readonly context: ContextLayout;
  readonly returns: readonly ReturnRule[];
  /** Whether results are read as signed 32 bits (TC_ACT_UNSPEC is -1). */
  readonly signed: boolean;
  /**
   * expected_attach_type: those that the kernel knows for the type, the usual one first. Some kernels ignore the number
   * where `anyAttach` is set; elsewhere it must be one of these.
   */
  readonly attach?: readonly AttachType[];
  readonly anyAttach?: true;
  /** What the program may do with packet data through pointers (verifier: may_access_direct_pkt_data). */
  readonly packetAccess?: "read" | "write";
  /** BPF_PROG_TEST_RUN of Linux 6.18 takes the type. */
  readonly testRun?: boolean;
  /** Types that run over the packets of a capture. */
  readonly packet?: PacketRules;
}

/** A type that runs over the packets of a capture. */
export type PacketHook = Hook & { readonly packet: PacketRules };
