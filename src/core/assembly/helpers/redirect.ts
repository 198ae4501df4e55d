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
