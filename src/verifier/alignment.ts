/** Alignment of accesses (check_ptr_alignment): of the stack always, of atomics always, of the rest in strict mode. */
import type { Environment } from "./environment.ts";
import {
  PTR_TO_ARENA,
  PTR_TO_CTX,
  PTR_TO_FLOW_KEYS,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_STACK,
  PTR_TO_TCP_SOCK,
  PTR_TO_XDP_SOCK,
  isPacketPointer,
} from "./register-types.ts";
import { aligned, tnumText } from "./scalar/index.ts";
import type { RegisterState } from "./state.ts";

/** Where a frame's network header begins in strict mode: NET_IP_ALIGN. */
const IP_ALIGN = 2;

const NAMES: Readonly<Record<number, string>> = {
  [PTR_TO_FLOW_KEYS]: "flow keys ",
  [PTR_TO_MAP_KEY]: "key ",
  [PTR_TO_MAP_VALUE]: "value ",
  [PTR_TO_CTX]: "context ",
  [PTR_TO_STACK]: "stack ",
  [PTR_TO_SOCKET]: "sock ",
  [PTR_TO_SOCK_COMMON]: "sock_common ",
  [PTR_TO_TCP_SOCK]: "tcp_sock ",
  [PTR_TO_XDP_SOCK]: "xdp_sock ",
};

export function checkPointerAlignment(
  env: Environment,
  { type, off: fixed, scalar }: RegisterState,
  off: number,
  size: number,
  strictOnce: boolean,
): void {
  if (size === 1 || type === PTR_TO_ARENA) return;
  if (!env.strictAlignment && !strictOnce && type !== PTR_TO_STACK) return;
  if (isPacketPointer(type)) {
    if (aligned(scalar, IP_ALIGN + fixed + off, size)) return;
    throw env.reject(
      "EACCES",
      `misaligned packet access off ${IP_ALIGN}+${tnumText(scalar)}+${fixed}+${off} size ${size}`,
    );
  }
  if (aligned(scalar, fixed + off, size)) return;
  throw env.reject(
    "EACCES",
    `misaligned ${NAMES[type] ?? ""}access off ${tnumText(scalar)}+${fixed}+${off} size ${size}`,
  );
}
