import { BpfError } from "../errors.ts";
import { nameOfErrno } from "./errno.ts";
import { type BtfInfo, btfBytes, btfInfo } from "./info.ts";
import { Handle, type Kernel, refusal } from "./kernel.ts";
import { reasonOf } from "../verifier/index.ts";
import { withLog } from "./log.ts";

/** BTF in the kernel. */
export class KernelBtf extends Handle {
  info(): BtfInfo {
    return btfInfo(this);
  }

  bytes(): Uint8Array {
    return btfBytes(this);
  }
}

/**
 * Loads BTF as it is; what clang writes must pass through `prepareBtf` first.
 *
 * @throws BpfError code "btf" with the kernel's complaint if it is not valid, code "kernel" if it is refused before.
 */
export function loadBtf(kernel: Kernel, bytes: Uint8Array): KernelBtf {
  const request = { btf: bytes, btf_size: bytes.length };
  const quiet = kernel.call("btf_load", request).result;
  if (quiet >= 0) return new KernelBtf(kernel, quiet);
  const { result, log } = withLog((buffer) => {
    const reply = kernel.call("btf_load", {
      ...request,
      btf_log_level: 1,
      btf_log_size: buffer.length,
      btf_log_buf: buffer,
    });
    return { result: reply.result, needed: reply.read("btf_log_true_size") };
  });
  if (result >= 0) return new KernelBtf(kernel, result);
  const reason = reasonOf(log);
  if (reason === "") throw refusal("BTF: the kernel refuses to load it", result);
  throw new BpfError("btf", `BTF: the kernel rejects it: ${nameOfErrno(result)}: ${reason}`, {
    errno: nameOfErrno(result),
  });
}

/** A BTF object by its id; the kernel's own is usually 1. */
export function openBtf(kernel: Kernel, id: number): KernelBtf {
  const { result } = kernel.call("btf_get_fd_by_id", { start_id: id });
  if (result < 0) throw refusal(`BTF with id ${id}`, result);
  return new KernelBtf(kernel, result);
}
