import { SKB_DATA, SKB_DATA_END } from "../../layout";
import { copyBytes } from "../bytes";
import { EFAULT } from "../uapi";

/** Copies packet bytes; when they do not all lie in the packet, zeroes `to` and fails. */
export function skb_load_bytes(context: u32, offset: u32, to: u32, size: u32): i32 {
  const data = load<u32>(context, SKB_DATA);
  const length = load<u32>(context, SKB_DATA_END) - data;
  if (u64(offset) + size > u64(length)) {
    memory.fill(to, 0, size);
    return -EFAULT;
  }
  copyBytes(to, data + offset, size);
  return 0;
}
