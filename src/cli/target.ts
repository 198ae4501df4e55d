/** The kernel that programs are fitted to: options that commands share. */
import type { Btf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import { openBtf } from "./btf-file.ts";
import { type Options, type Values, text } from "./command.ts";
import { readInput } from "./files.ts";

export const TARGET_OPTIONS: Options = {
  btf: {
    type: "string",
    value: "FILE",
    help: "types that CO-RE fits programs to, such as /sys/kernel/btf/vmlinux (default: the object's own)",
  },
  kconfig: {
    type: "string",
    value: "FILE",
    help: "kernel configuration that programs see, such as /proc/config.gz",
  },
};

/** What `--btf` and `--kconfig` name, as a machine takes it. */
export async function targetOf(values: Values): Promise<{ readonly btf?: Btf; readonly kconfig?: string }> {
  const btf = text(values, "btf");
  const kconfig = text(values, "kconfig");
  return {
    ...(btf === undefined ? {} : { btf: await openBtf(btf) }),
    ...(kconfig === undefined ? {} : { kconfig: await readConfig(kconfig) }),
  };
}

async function readConfig(path: string): Promise<string> {
  const bytes = await readInput(path);
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  try {
    if (!packed) return Buffer.from(bytes).toString("latin1");
    const { gunzipSync } = await import("node:zlib");
    return gunzipSync(bytes).toString("latin1");
  } catch (cause) {
    throw new BpfError("io", `${path}: damaged gzip data`, { where: { file: path }, cause });
  }
}
