import { readFileSync } from "node:fs";
import { release } from "node:os";
import { gunzipSync } from "node:zlib";
import { type KconfigValues, parseKconfig, releaseValues } from "../object/index.ts";

let read: KconfigValues | undefined;

/**
 * The running kernel's configuration, where it shows it (`/proc/config.gz`, `/boot/config-RELEASE`), and its version; what programs
 * ask in `.kconfig`. Values that cannot be known are absent.
 */
export function kernelConfig(): KconfigValues {
  read ??= { ...releaseValues(release()), ...parseKconfig(configText()) };
  return read;
}

function configText(): string {
  for (const [path, packed] of [
    ["/proc/config.gz", true],
    [`/boot/config-${release()}`, false],
  ] as const) {
    try {
      const bytes = readFileSync(path);
      return (packed ? gunzipSync(bytes) : bytes).toString("latin1");
    } catch {
      // Many kernels show one of the two, some none.
    }
  }
  return "";
}
