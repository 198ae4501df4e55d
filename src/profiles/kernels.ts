/** Kernels that programs can be judged for, and comparing versions. */

/**
 * Long-term releases of Linux. The last is the one whose verifier is implemented here; of the others is known what they have,
 * not how their verifiers proved.
 */
export const KERNELS = ["5.15", "6.1", "6.6", "6.12", "6.18"] as const;

export type KernelVersion = (typeof KERNELS)[number];

/** Whose verifier this one is. */
export const EXACT_KERNEL: KernelVersion = "6.18";

/** Whether a release has what came with another: "5.15" against "4.20". */
export function hasSince(kernel: string, since: string): boolean {
  const [major = 0, minor = 0] = kernel.split(".").map(Number);
  const [sinceMajor = 0, sinceMinor = 0] = since.split(".").map(Number);
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor);
}

/**
 * The kernels that a text names: "all", or versions with commas between.
 *
 * @example
 * kernelsOf("5.15,6.1"); // ["5.15", "6.1"]
 */
export function kernelsOf(text: string): readonly KernelVersion[] | undefined {
  if (text === "all") return KERNELS;
  const names = text.split(",").map((name) => name.trim());
  const known = names.filter((name): name is KernelVersion => KERNELS.includes(name as KernelVersion));
  return known.length === names.length ? known : undefined;
}
