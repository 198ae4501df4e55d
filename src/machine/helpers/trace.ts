/** What programs print. */
import { ERRNO } from "../../uapi/index.ts";
import { formatTrace } from "./printf.ts";
import type { HostHelper } from "./types.ts";

/** A program may pass three values to bpf_trace_printk: that is all the registers there are. */
const TRACE_ARGUMENTS = [3, 4, 5] as const;

export const TRACE: readonly HostHelper[] = [
  {
    name: "trace_printk",
    args: 5,
    call({ memory, trace }, args) {
      const { u8 } = memory;
      const start = args.u32(1);
      const end = Math.min(start + args.u32(2), u8.length);
      const nul = u8.subarray(start, end).indexOf(0);
      if (nul < 0) return -ERRNO.EINVAL;
      const format = String.fromCharCode(...u8.subarray(start, Math.min(start + nul, start + 4096)));
      const text = formatTrace(format, {
        arguments: TRACE_ARGUMENTS.map((register) => args.u64(register)),
        string(address, limit) {
          const from = Number(BigInt.asUintN(32, address));
          const bytes = u8.subarray(from, from + limit - 1);
          const stop = bytes.indexOf(0);
          return stop < 0 ? bytes : bytes.subarray(0, stop);
        },
        bytes(address, length) {
          const from = Number(BigInt.asUintN(32, address));
          const bytes = new Uint8Array(length);
          bytes.set(u8.subarray(from, from + length));
          return bytes;
        },
      });
      if (text === undefined) return -ERRNO.EINVAL;
      trace(text.replace(/\n$/, ""));
      return text.length;
    },
  },
];
