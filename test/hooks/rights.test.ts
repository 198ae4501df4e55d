/**
 * The table of contexts against the kernel: for each program type and attach type, a program of three instructions for
 * every offset and width, load, sign-extending load and store. The kernel's verifier says which of them it takes.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FieldKind, type Hook, HOOKS, contextAccess, returnRule } from "../../src/hooks/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { Handle, Kernel, PROGRAM_FLAGS, attemptLoad } from "../../src/kernel/index.ts";
import type { AttachType } from "../../src/uapi/index.ts";
import { expectNothingLeft, insn, noKernel, ownName, returning, withKernel } from "../kernel/setup.ts";

/** BPF_LDX|BPF_MEM, BPF_LDX|BPF_MEMSX and BPF_STX|BPF_MEM by width (RFC 9669, section 5). */
const LOAD: Readonly<Record<number, number>> = { 1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79 };
const LOAD_SIGNED: Readonly<Record<number, number>> = { 1: 0x91, 2: 0x89, 4: 0x81 };
const STORE: Readonly<Record<number, number>> = { 1: 0x73, 2: 0x6b, 4: 0x63, 8: 0x7b };

/** Offsets that are asked about: all of small contexts, the ends of large ones. */
function offsets({ context }: Hook): number[] {
  const { size } = context;
  const range = (from: number, to: number): number[] =>
    Array.from({ length: to - from }, (_, index) => from + index);
  if (size <= 256) return range(0, size + 9);
  // Offsets of instructions have 16 bits, signed.
  return [...range(0, 17), ...(size < 32768 ? range(size - 9, size + 9) : range(32752, 32768))];
}

/** Those of type `ext`, `struct_ops`, ... need a target in BTF, which decides what may be accessed. */
const BARE = HOOKS.filter(({ context }) => context.arguments !== true);

/** Attach types that rules of a row name. */
function named({ context, returns }: Hook): AttachType[] {
  const rules = [...context.fields.flatMap(({ read, write }) => [read, write]), ...returns];
  return rules.flatMap((rule) => rule?.only ?? []);
}

const CASES = BARE.flatMap((hook): [string, Hook, AttachType | undefined][] => {
  // Where the number is not checked, only those make a difference that a rule names.
  const types = (hook.attach ?? []).filter((type) => hook.anyAttach !== true || named(hook).includes(type));
  const cases: [string, Hook, AttachType | undefined][] = types.map((attach) => [
    `${hook.type} ${attach}`,
    hook,
    attach,
  ]);
  return hook.anyAttach === true || types.length === 0 ? [[hook.type, hook, undefined], ...cases] : cases;
});

/** How the verifier's log calls what a load yields. */
const KINDS: Readonly<Record<FieldKind, RegExp>> = {
  scalar: /^(scalar|-?\d|0x)/,
  packet: /^pkt\(/,
  packet_meta: /^pkt_meta\(/,
  packet_end: /^pkt_end\(/,
  socket: /^sock\(/,
  socket_or_null: /^sock_or_null\(/,
  sock_common_or_null: /^sock_common_or_null\(/,
  flow_keys: /^flow_keys\(/,
  tp_buffer: /^tp_buffer\(/,
  btf: /^trusted_ptr_/,
};

describe.skipIf(noKernel !== undefined)(withKernel("rights in contexts"), () => {
  let kernel: Kernel;
  beforeAll(async () => {
    kernel = await Kernel.open();
  });
  afterAll(async () => {
    kernel.close();
    await expectNothingLeft();
  });

  /** Whether the kernel loads it; the log, if a level was asked for. */
  function attempt(
    hook: Hook,
    attach: AttachType | undefined,
    instructions: readonly Instruction[],
    level = 0,
  ): { taken: boolean; log: string } {
    const { result, log } = attemptLoad(
      kernel,
      {
        type: hook.type,
        name: ownName("rights"),
        instructions,
        ...(attach === undefined ? {} : { expectedAttachType: attach }),
        ...(hook.type === "syscall" ? { flags: PROGRAM_FLAGS.sleepable } : {}),
      },
      level,
    );
    if (result >= 0) new Handle(kernel, result).close();
    return { taken: result >= 0, log };
  }

  const takes = (hook: Hook, attach: AttachType | undefined, instructions: readonly Instruction[]): boolean =>
    attempt(hook, attach, instructions).taken;

  it.each(CASES)("of %s: what may be loaded and stored", { timeout: 60_000 }, (_name, hook, attach) => {
    const [allowed = 0] = returnRule(hook, attach).range ?? [];
    const end = returning(allowed);
    if (!takes(hook, attach, end)) {
      // The kernel was built without the type.
      expect(["lirc_mode2", "netfilter", "lwt_seg6local"]).toContain(hook.type);
      return;
    }
    const differences: string[] = [];
    for (const offset of offsets(hook)) {
      for (const size of [1, 2, 4, 8]) {
        const kinds = [
          ["load", false, false, [insn(LOAD[size] as number, 0, 1, offset)]],
          ["store", true, false, [insn(0xb7, 2), insn(STORE[size] as number, 1, 2, offset)]],
          ...(size === 8
            ? []
            : [["signed load", false, true, [insn(LOAD_SIGNED[size] as number, 0, 1, offset)]] as const]),
        ] as const;
        for (const [what, write, signed, access] of kinds) {
          const ours = contextAccess(hook, attach, { offset, size, write, signed }) !== undefined;
          const theirs = takes(hook, attach, [...access, ...end]);
          if (ours !== theirs) {
            differences.push(
              `${what} of ${size} at ${offset}: the kernel ${theirs ? "takes" : "refuses"} it`,
            );
          }
        }
      }
    }
    expect(differences).toEqual([]);
  });

  it.each(CASES)("of %s: what a load yields", (_name, hook, attach) => {
    const [allowed = 0] = returnRule(hook, attach).range ?? [];
    if (!takes(hook, attach, returning(allowed))) return;
    for (const { name, offset, size, read, kind = "scalar", btf } of hook.context.fields) {
      if (contextAccess(hook, attach, { offset, size, write: false }) === undefined) continue;
      const width = read?.sizes.includes(size) === true ? size : (read?.sizes[0] ?? size);
      const code = [insn(LOAD[width] as number, 0, 1, offset), ...returning(allowed)];
      const { log } = attempt(hook, attach, code, 2);
      const [, register = log] = /^0: .*; R0(?:_w)?=(\S+)/m.exec(log) ?? [];
      expect(`${name} ${register}`).toMatch(
        new RegExp(`^${name.replace(/[()]/g, "\\$&")} ${KINDS[kind].source.slice(1)}`),
      );
      if (btf !== undefined) expect(register).toContain(`trusted_ptr_${btf}(`);
    }
  });

  it.each(CASES)("of %s: what may be returned", (_name, hook, attach) => {
    const { range } = returnRule(hook, attach);
    if (!takes(hook, attach, returning(range?.[0] ?? 0))) return;
    for (const value of [-0x80000000, -4096, -4095, -1, 0, 1, 2, 3, 4, 255, 0x7fffffff]) {
      const ours = range === undefined || (value >= range[0] && value <= range[1]);
      expect([value, takes(hook, attach, returning(value))]).toEqual([value, ours]);
    }
  });
});
