/** The machine that figures were measured on, in a few words. */
import { cpus, release, totalmem, type } from "node:os";
import { VERSION } from "../../version.ts";

export interface HostDescription {
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly v8: string;
  readonly skep: string;
}

export function describeHost(): HostDescription {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cpus: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}, ${process.arch}`,
    node: process.version,
    v8: process.versions.v8,
    skep: VERSION,
  };
}

export function hostLine({ cpu, cpus: count, memoryGiB, system, node, v8, skep }: HostDescription): string {
  return `${cpu}, ${count} CPUs, ${memoryGiB} GiB, ${system}; Node.js ${node} (V8 ${v8}), skep ${skep}`;
}
