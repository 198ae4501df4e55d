/** Calls a core helper by id, with arguments from and result to the registers of the execution state. */
import {
  HELPER_CSUM_DIFF,
  HELPER_GET_PRANDOM_U32,
  HELPER_GET_SMP_PROCESSOR_ID,
  HELPER_MAP_DELETE_ELEM,
  HELPER_MAP_LOOKUP_ELEM,
  HELPER_MAP_UPDATE_ELEM,
  HELPER_REDIRECT,
  HELPER_SKB_LOAD_BYTES,
  HELPER_XDP_ADJUST_HEAD,
  HELPER_XDP_ADJUST_META,
  HELPER_XDP_ADJUST_TAIL,
} from "../uapi";
import { map_delete_elem, map_lookup_elem, map_update_elem } from "../maps/program";
import { get_prandom_u32, get_smp_processor_id } from "./cpu";
import { csum_diff } from "./checksum";
import { redirect } from "./redirect";
import { skb_load_bytes } from "./skb";
import { xdp_adjust_head, xdp_adjust_meta, xdp_adjust_tail } from "./xdp";

const R1 = 8;
const R2 = 16;
const R3 = 24;
const R4 = 32;
const R5 = 40;

/** False if the core has no such helper. */
export function callCoreHelper(id: i32, state: u32): bool {
  switch (id) {
    case HELPER_MAP_LOOKUP_ELEM:
      store<u64>(state, map_lookup_elem(load<u32>(state, R1), load<u32>(state, R2)));
      return true;
    case HELPER_MAP_UPDATE_ELEM:
      store<i64>(
        state,
        map_update_elem(
          load<u32>(state, R1),
          load<u32>(state, R2),
          load<u32>(state, R3),
          load<u64>(state, R4),
        ),
      );
      return true;
    case HELPER_MAP_DELETE_ELEM:
      store<i64>(state, map_delete_elem(load<u32>(state, R1), load<u32>(state, R2)));
      return true;
    case HELPER_GET_PRANDOM_U32:
      store<u64>(state, get_prandom_u32());
      return true;
    case HELPER_GET_SMP_PROCESSOR_ID:
      store<u64>(state, get_smp_processor_id());
      return true;
    case HELPER_REDIRECT:
      store<i64>(state, redirect(load<u32>(state, R1), load<u64>(state, R2)));
      return true;
    case HELPER_SKB_LOAD_BYTES:
      store<i64>(
        state,
        skb_load_bytes(
          load<u32>(state, R1),
          load<u32>(state, R2),
          load<u32>(state, R3),
          load<u32>(state, R4),
        ),
      );
      return true;
    case HELPER_CSUM_DIFF:
      store<u64>(
        state,
        csum_diff(
          load<u32>(state, R1),
          load<u32>(state, R2),
          load<u32>(state, R3),
          load<u32>(state, R4),
          load<u32>(state, R5),
        ),
      );
      return true;
    case HELPER_XDP_ADJUST_HEAD:
      store<i64>(state, xdp_adjust_head(load<u32>(state, R1), load<i32>(state, R2)));
      return true;
    case HELPER_XDP_ADJUST_META:
      store<i64>(state, xdp_adjust_meta(load<u32>(state, R1), load<i32>(state, R2)));
      return true;
    case HELPER_XDP_ADJUST_TAIL:
      store<i64>(state, xdp_adjust_tail(load<u32>(state, R1), load<i32>(state, R2)));
      return true;
    default:
      return false;
  }
}
