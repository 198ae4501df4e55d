/** bpf_redirect_map (net/core/filter.c, __bpf_xdp_redirect_map): notes map, key and target; the run's result shows them. */
import {
  EXEC_REDIRECT,
  EXEC_REDIRECT_FLAGS,
  EXEC_REDIRECT_KEY,
  EXEC_REDIRECT_MAP,
  MAP_TYPE,
} from "../../layout";
import { exec } from "../state";
import { MAP_TYPE_DEVMAP, MAP_TYPE_DEVMAP_HASH, XDP_ABORTED, XDP_REDIRECT } from "../uapi";
import { hashLookup } from "./hash";
import { slotObject } from "./slots";

const ACTIONS: u64 = 3;
const BROADCAST: u64 = 1 << 3;
const EXCLUDE_INGRESS: u64 = 1 << 4;

export function redirect_map(map: u32, key: u64, flags: u64): i32 {
  const type = load<i32>(map, MAP_TYPE);
  const devices = type == MAP_TYPE_DEVMAP || type == MAP_TYPE_DEVMAP_HASH;
  if ((flags & ~(ACTIONS | (devices ? BROADCAST | EXCLUDE_INGRESS : 0))) != 0) return XDP_ABORTED;
  const target = targetOf(map, type, u32(key));
  if (target == 0 && (flags & BROADCAST) == 0) {
    store<u32>(exec, 0, EXEC_REDIRECT_MAP);
    return i32(flags & ACTIONS);
  }
  store<u32>(exec, map, EXEC_REDIRECT_MAP);
  store<u32>(exec, u32(key), EXEC_REDIRECT_KEY);
  store<u32>(exec, devices ? target : 0, EXEC_REDIRECT);
  store<u32>(exec, u32(flags & BROADCAST) == 0 ? 0 : u32(flags), EXEC_REDIRECT_FLAGS);
  return XDP_REDIRECT;
}

function targetOf(map: u32, type: i32, key: u32): u32 {
  if (type != MAP_TYPE_DEVMAP_HASH) return slotObject(map, key);
  // The key's place in the state is as good as any.
  store<u32>(exec, key, EXEC_REDIRECT_KEY);
  const value = hashLookup(map, exec + EXEC_REDIRECT_KEY, 0);
  return value == 0 ? 0 : load<u32>(value);
}
