import { NARROW, WHOLE, WHOLE64 } from "./rights.ts";
import type { AccessRule, ContextField, ContextLayout } from "./types.ts";

/** Fields of the socket that a packet belongs to, shown to few types. */
const SOCKET_FIELDS = [
  "family",
  "remote_ip4",
  "local_ip4",
  "remote_ip6",
  "local_ip6",
  "remote_port",
  "local_port",
] as const;

// The last words of `tstamp_type` to `hwtstamp` and the padding between them: no type may read all of it.
const CB: AccessRule = { sizes: [1, 2, 4, 8], inside: true };

/**
 * struct __sk_buff of uapi/linux/bpf.h. Values are as a program reads them: `protocol` and the addresses are in network
 * byte order. The rights are those that bpf_skb_is_valid_access gives to all types, before each takes its part away.
 */
const FIELDS: readonly ContextField[] = [
  { name: "len", offset: 0, size: 4, read: NARROW },
  { name: "pkt_type", offset: 4, size: 4, kept: 1, input: true, read: NARROW },
  { name: "mark", offset: 8, size: 4, input: true, read: NARROW },
  { name: "queue_mapping", offset: 12, size: 4, kept: 2, bits: 16, input: true, read: NARROW },
  { name: "protocol", offset: 16, size: 4, kept: 2, read: NARROW },
  { name: "vlan_present", offset: 20, size: 4, input: true, read: NARROW },
  { name: "vlan_tci", offset: 24, size: 4, kept: 2, input: true, read: NARROW },
  { name: "vlan_proto", offset: 28, size: 4, kept: 2, input: true, read: NARROW },
  { name: "priority", offset: 32, size: 4, input: true, read: NARROW },
  { name: "ingress_ifindex", offset: 36, size: 4, input: true, read: NARROW },
  { name: "ifindex", offset: 40, size: 4, input: true, read: NARROW },
  { name: "tc_index", offset: 44, size: 4, kept: 2, bits: 16, input: true, read: NARROW },
  { name: "cb", offset: 48, size: 4, count: 5, input: true, read: CB },
  { name: "hash", offset: 68, size: 4, input: true, read: NARROW },
  { name: "tc_classid", offset: 72, size: 4, kept: 2, bits: 16, input: true, read: NARROW },
  { name: "data", offset: 76, size: 4, read: WHOLE, kind: "packet" },
  { name: "data_end", offset: 80, size: 4, read: WHOLE, kind: "packet_end" },
  { name: "napi_id", offset: 84, size: 4, input: true, read: NARROW },
  { name: "family", offset: 88, size: 4, kept: 2, input: true, read: NARROW },
  { name: "remote_ip4", offset: 92, size: 4, input: true, read: WHOLE },
  { name: "local_ip4", offset: 96, size: 4, input: true, read: WHOLE },
  { name: "remote_ip6", offset: 100, size: 4, count: 4, input: true, read: WHOLE },
  { name: "local_ip6", offset: 116, size: 4, count: 4, input: true, read: WHOLE },
  { name: "remote_port", offset: 132, size: 4, kept: 2, input: true, read: NARROW },
  { name: "local_port", offset: 136, size: 4, kept: 2, input: true, read: NARROW },
  { name: "data_meta", offset: 140, size: 4, read: WHOLE, kind: "packet_meta" },
  { name: "flow_keys", offset: 144, size: 8, kind: "flow_keys" },
  { name: "tstamp", offset: 152, size: 8, input: true, read: WHOLE64 },
  { name: "wire_len", offset: 160, size: 4, input: true, read: NARROW },
  { name: "gso_segs", offset: 164, size: 4, kept: 2, bits: 16, input: true, read: NARROW },
  { name: "sk", offset: 168, size: 8, read: WHOLE64, kind: "sock_common_or_null" },
  { name: "gso_size", offset: 176, size: 4, kept: 2, bits: 16, input: true, read: NARROW },
  { name: "tstamp_type", offset: 180, size: 1, input: true },
  { name: "hwtstamp", offset: 184, size: 8, input: true, read: WHOLE64 },
];

export type SkbField =
  | "len"
  | "pkt_type"
  | "mark"
  | "queue_mapping"
  | "protocol"
  | "priority"
  | "tc_index"
  | "cb"
  | "tc_classid"
  | "data"
  | "data_end"
  | "data_meta"
  | "flow_keys"
  | "tstamp"
  | "wire_len"
  | "tstamp_type"
  | "hwtstamp"
  | (typeof SOCKET_FIELDS)[number];

/** `family` to `local_port`. */
export const SKB_SOCKET: readonly SkbField[] = SOCKET_FIELDS;

/** What makes a type's view of __sk_buff. */
export interface SkbRights {
  /** Fields that the type does not show. */
  readonly hidden: readonly SkbField[];
  /** Fields that it may store to. */
  readonly writable: readonly SkbField[];
  /** Instead of hiding some, the type shows these only. */
  readonly shown?: readonly SkbField[];
  /** Rules that are the type's own. */
  readonly read?: Partial<Record<SkbField, AccessRule>>;
}

/** How each field is stored that some type may store to. */
const WRITES: Partial<Record<SkbField, AccessRule>> = { cb: CB, tstamp: WHOLE64 };

/** __sk_buff with the rights of one program type. Its fields are made when somebody looks: a command meets one type of six. */
export function skbContext(rights: SkbRights): ContextLayout {
  let fields: readonly ContextField[] | undefined;
  return {
    struct: "__sk_buff",
    size: 192,
    get fields() {
      return (fields ??= skbFields(rights));
    },
  };
}

function skbFields({ hidden, writable, shown, read = {} }: SkbRights): readonly ContextField[] {
  return FIELDS.map((field): ContextField => {
    const name = field.name as SkbField;
    const visible = shown === undefined ? !hidden.includes(name) : shown.includes(name);
    const { read: usual, input, ...rest } = field;
    const rule = read[name] ?? (visible ? usual : undefined);
    return {
      ...rest,
      // Of types that show a few fields only, the others cannot be given either.
      ...(input === true && shown === undefined ? { input } : {}),
      ...(rule === undefined ? {} : { read: rule }),
      ...(writable.includes(name) ? { write: WRITES[name] ?? WHOLE } : {}),
    };
  });
}
