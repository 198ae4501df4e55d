import { EXEC_PROG, EXEC_REDIRECT, EXEC_REDIRECT_FLAGS, EXEC_REDIRECT_MAP, PROG_TYPE } from "../../layout";
import { exec } from "../state";
import {
  BPF_F_INGRESS,
  PROG_TYPE_XDP,
  TC_ACT_REDIRECT,
  TC_ACT_SHOT,
  XDP_ABORTED,
  XDP_REDIRECT,
} from "../uapi";

/** Notes where the packet shall go; the program returns what this returns. XDP has no flags, tc has one. */
export function redirect(ifindex: u32, flags: u64): i32 {
  const xdp = load<i32>(load<u32>(exec, EXEC_PROG), PROG_TYPE) == PROG_TYPE_XDP;
  if ((flags & ~u64(xdp ? 0 : BPF_F_INGRESS)) != 0) return xdp ? XDP_ABORTED : TC_ACT_SHOT;
  store<u32>(exec, ifindex, EXEC_REDIRECT);
  store<u32>(exec, 0, EXEC_REDIRECT_MAP);
  store<u32>(exec, u32(flags), EXEC_REDIRECT_FLAGS);
  return xdp ? XDP_REDIRECT : TC_ACT_REDIRECT;
}

// Beside the public flags the kernel notes here which helper it was (net/core/filter.c).
const BPF_F_NEIGH: u32 = 1 << 16;
const BPF_F_PEER: u32 = 1 << 17;
const BPF_F_NEXTHOP: u32 = 1 << 18;
// sizeof(struct bpf_redir_neigh).
const REDIR_NEIGH_SIZE: u32 = 20;

/** Into the other end of a pair of devices. */
export function redirect_peer(ifindex: u32, flags: u64): i32 {
  if (flags != 0) return TC_ACT_SHOT;
  store<u32>(exec, ifindex, EXEC_REDIRECT);
  store<u32>(exec, BPF_F_PEER, EXEC_REDIRECT_FLAGS);
  return TC_ACT_REDIRECT;
}

/** Out of a device, with the link-layer address of a neighbour: of the route's, or of one that is given. */
export function redirect_neigh(ifindex: u32, params: u32, size: u32, flags: u64): i32 {
  if ((size != 0 && size < REDIR_NEIGH_SIZE) || flags != 0) return TC_ACT_SHOT;
  store<u32>(exec, ifindex, EXEC_REDIRECT);
  store<u32>(exec, BPF_F_NEIGH | (size == 0 ? 0 : BPF_F_NEXTHOP), EXEC_REDIRECT_FLAGS);
  return TC_ACT_REDIRECT;
}
