/** The kernel that programs are fitted to: options that commands share. */
import type { Btf } from "../btf/index.ts";
import { openBtf } from "./btf-file.ts";
import { type Options, type Values, text } from "./command.ts";

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

/** The files that they name, which no output may be. */
export function targetFiles(values: Values): string[] {
  return Object.keys(TARGET_OPTIONS).flatMap((name) => text(values, name) ?? []);
}

/** What `--btf` and `--kconfig` name, as a machine takes it. */
export async function targetOf(values: Values): Promise<{ readonly btf?: Btf; readonly kconfig?: string }> {
  const btf = text(values, "btf");
  const kconfig = text(values, "kconfig");
  return {
    ...(btf === undefined ? {} : { btf: await openBtf(btf) }),
    ...(kconfig === undefined
      ? {}
      : { kconfig: await (await import("./kconfig-file.ts")).readConfig(kconfig) }),
  };
}
