import { readlinkSync } from "node:fs";
import { BpfError } from "../errors.ts";
import { Handle, type Kernel, refusal } from "./kernel.ts";
import { type KernelMap, adoptMap } from "./map.ts";
import { type KernelProgram, adoptProgram } from "./program.ts";

/**
 * Gives an object a path in a BPF file system, which keeps it alive when every process has let go. Removing the file
 * (`fs.unlinkSync`) is the caller's business.
 */
export function pin(object: Handle, path: string): void {
  const { result } = object.kernel.call("obj_pin", { pathname: pathBytes(path), bpf_fd: object.fd });
  if (result < 0) throw refusal(`pin '${path}'`, result, { file: path });
}

/** The map pinned at a path. */
export function pinnedMap(kernel: Kernel, path: string): KernelMap {
  return adoptMap(kernel, get(kernel, path, "map"));
}

/** The program pinned at a path. */
export function pinnedProgram(kernel: Kernel, path: string): KernelProgram {
  return adoptProgram(kernel, get(kernel, path, "prog"));
}

function get(kernel: Kernel, path: string, kind: "map" | "prog"): number {
  const { result } = kernel.call("obj_get", { pathname: pathBytes(path) });
  if (result < 0) throw refusal(`pin '${path}'`, result, { file: path });
  // OBJ_GET opens whatever lies there, and a description does not say of what kind its object is; /proc does.
  const link = readlinkSync(`/proc/self/fd/${result}`);
  if (link.endsWith(`bpf-${kind}`)) return result;
  new Handle(kernel, result).close();
  throw new BpfError(
    "usage",
    `pin '${path}': it holds no ${kind === "map" ? "map" : "program"} but ${link}`,
    {
      where: { file: path },
    },
  );
}

function pathBytes(path: string): Uint8Array {
  return new TextEncoder().encode(`${path}\0`);
}
