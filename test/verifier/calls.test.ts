import { describe, expect, it } from "vitest";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { assemble } from "../../src/asm/index.ts";
import { VerifierError } from "../../src/errors.ts";
import { Handle, Kernel, attemptLoad, createMap, possibleCpus } from "../../src/kernel/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { type VerifierMap, reasonOf, verify, verifyObject } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { GENERATED_MAPS } from "../verify-diff/generate.ts";
import { compareRandom } from "../verify-diff/random.ts";

interface Row {
  readonly name: string;
  readonly type?: ProgramType;
  /** `r1 = 0 ll` is the address of the next map of `maps`. */
  readonly text: string;
  readonly maps?: readonly (keyof typeof MAPS)[];
  readonly license?: string;
  /** "accepted", or errno and last line. */
  readonly says: string;
}

const MAPS = {
  hash: GENERATED_MAPS[0],
  array: GENERATED_MAPS[1],
  ring: GENERATED_MAPS[2],
  constant: { name: "constant", type: "array", keySize: 4, valueSize: 8, maxEntries: 1, flags: 1 << 7 },
  programs: { name: "programs", type: "prog_array", keySize: 4, valueSize: 4, maxEntries: 2 },
} as const;

/** r0 = the element of the hash, or NULL. */
const LOOKUP = "*(u64 *)(r10 - 8) = 0; r2 = r10; r2 += -8; r1 = 0 ll; call 1";
const PACKET = "r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 14";

const ROWS: readonly Row[] = [
  {
    name: "a value without a check",
    text: `${LOOKUP}; r0 = *(u64 *)(r0 + 0); exit`,
    maps: ["hash"],
    says: "EACCES R0 invalid mem access 'map_value_or_null'",
  },
  {
    name: "a value's last bytes",
    text: `${LOOKUP}; if r0 == 0 goto +1; r0 = *(u64 *)(r0 + 40); exit`,
    maps: ["hash"],
    says: "accepted",
  },
  {
    name: "one byte too far",
    text: `${LOOKUP}; if r0 == 0 goto +1; r0 = *(u64 *)(r0 + 41); exit`,
    maps: ["hash"],
    says: "EACCES R0 min value is outside of the allowed memory range",
  },
  {
    name: "an element that exists",
    text: "r2 = 1; *(u32 *)(r10 - 8) = r2; r2 = r10; r2 += -8; r1 = 0 ll; call 1; r0 = *(u64 *)(r0 + 0); exit",
    maps: ["array"],
    says: "accepted",
  },
  {
    name: "an element that does not",
    text: "r2 = 2; *(u32 *)(r10 - 8) = r2; r2 = r10; r2 += -8; r1 = 0 ll; call 1; r0 = *(u64 *)(r0 + 0); exit",
    maps: ["array"],
    says: "EACCES R0 invalid mem access 'map_value_or_null'",
  },
  {
    name: "a key that nobody wrote, which root may pass",
    text: "r2 = r10; r2 += -8; r1 = 0 ll; call 1; r0 = 0; exit",
    maps: ["hash"],
    says: "accepted",
  },
  {
    name: "a number for a map",
    text: "r1 = 1; r2 = r10; call 1; exit",
    says: "EACCES R1 type=scalar expected=map_ptr",
  },
  {
    name: "a helper of another type",
    text: "call 44; exit",
    type: "socket_filter",
    says: "EINVAL program of this type cannot use helper bpf_xdp_adjust_head#44",
  },
  { name: "a helper that does not exist", text: "call 4095; exit", says: "EINVAL invalid func unknown#4095" },
  {
    name: "a helper under the GPL",
    text: "r1 = r10; r2 = 1; call 6; exit",
    license: "BSD",
    says: "EINVAL cannot call GPL-restricted function from non-GPL compatible program",
  },
  {
    name: "a map for another helper",
    text: "*(u64 *)(r10 - 8) = 0; r2 = r10; r2 += -8; r1 = 0 ll; call 1; exit",
    maps: ["programs"],
    says: "EINVAL cannot pass map_type 3 into func bpf_map_lookup_elem#1",
  },
  {
    name: "a store to a constant map",
    text: "*(u32 *)(r10 - 4) = 0; r2 = r10; r2 += -4; r1 = 0 ll; call 1; if r0 == 0 goto +1; *(u8 *)(r0 + 0) = 1; r0 = 0; exit",
    maps: ["constant"],
    says: "EACCES write into map forbidden, value_size=8 off=0 size=1",
  },
  {
    name: "a record that is kept",
    text: "r1 = 0 ll; r2 = 8; r3 = 0; call 131; r0 = 0; exit",
    maps: ["ring"],
    says: "EINVAL BPF_EXIT instruction in main prog would lead to reference leak",
  },
  {
    name: "a record that is given back",
    text: "r1 = 0 ll; r2 = 8; r3 = 0; call 131; if r0 == 0 goto +3; r1 = r0; r2 = 0; call 132; r0 = 0; exit",
    maps: ["ring"],
    says: "accepted",
  },
  {
    name: "a record given back twice",
    text: "r1 = 0 ll; r2 = 8; r3 = 0; call 131; if r0 == 0 goto +6; r6 = r0; r1 = r0; r2 = 0; call 132; r1 = r6; r2 = 0; call 132; r0 = 0; exit",
    maps: ["ring"],
    says: "EACCES R1 type=scalar expected=ringbuf_mem",
  },
  {
    name: "a packet with a check",
    text: `${PACKET}; if r4 > r3 goto +1; r0 = *(u8 *)(r2 + 13); r0 = 0; exit`,
    says: "accepted",
  },
  {
    name: "a check one byte short",
    text: `${PACKET}; if r4 > r3 goto +1; r0 = *(u8 *)(r2 + 14); r0 = 0; exit`,
    says: "EACCES R2 offset is outside of the packet",
  },
  {
    name: "one byte more by >=",
    text: `${PACKET}; if r4 >= r3 goto +1; r0 = *(u8 *)(r2 + 14); r0 = 0; exit`,
    says: "accepted",
  },
  {
    name: "a packet pointer after a helper that moves it",
    text: `r6 = r1; ${PACKET}; if r4 > r3 goto +6; r7 = r2; r1 = r6; r2 = 0; call 44; r0 = *(u8 *)(r7 + 0); r0 = 0; exit`,
    says: "EACCES R7 invalid mem access 'scalar'",
  },
  {
    name: "a length that may be 0",
    text: "*(u64 *)(r10 - 8) = 0; r2 = *(u32 *)(r1 + 12); r2 &= 7; r1 = r10; r1 += -8; call 6; r0 = 0; exit",
    says: "EACCES R2 invalid zero-sized read: u64=[0,7]",
  },
  {
    name: "a length that may be negative",
    text: "*(u64 *)(r10 - 8) = 0; r6 = r1; call 7; r2 = r0; r2 s>>= 1; r2 -= 5; r1 = r10; r1 += -8; call 6; r0 = 0; exit",
    says: "EACCES R2 min value is negative, either use unsigned or 'var &= const'",
  },
  {
    name: "a field that xdp has not",
    text: "r0 = *(u32 *)(r1 + 24); exit",
    says: "EACCES invalid bpf_context access off=24 size=4",
  },
  {
    name: "a store to a field",
    text: "*(u32 *)(r1 + 0) = 0; r0 = 0; exit",
    says: "EACCES invalid bpf_context access off=0 size=4",
  },
  {
    name: "a socket without a check",
    type: "sched_cls",
    text: "r1 = *(u64 *)(r1 + 168); r0 = *(u32 *)(r1 + 0); exit",
    says: "EACCES R1 invalid mem access 'sock_common_or_null'",
  },
  {
    name: "a return value out of range",
    type: "sk_lookup",
    text: "r0 = 2; exit",
    says: "EINVAL At program exit the register R0 has smin=2 smax=2 should have been in [0, 1]",
  },
];

interface Loadable {
  readonly instructions: readonly { opcode: number; dst: number; src: number; offset: number; imm: number }[];
  /** Slot, name of the map. */
  readonly places: readonly (readonly [number, keyof typeof MAPS])[];
}

function loadable({ text, maps = [] }: Row): Loadable {
  const { instructions } = assemble(text.replaceAll("; ", "\n"));
  const slots = instructions.flatMap(({ opcode }, slot) => (opcode === 0x18 ? [slot] : []));
  const places = slots.map((slot, index) => [slot, maps[index] as keyof typeof MAPS] as const);
  return {
    instructions: instructions.map((row, slot) => (slots.includes(slot) ? { ...row, src: 1, imm: 0 } : row)),
    places,
  };
}

const KNOWN = Object.fromEntries(
  Object.entries(MAPS).map(([name, map]) => [name, { flags: 0, ...map }]),
) as Record<keyof typeof MAPS, VerifierMap>;

describe("calls and accesses", () => {
  it.each(ROWS)("$name", (row) => {
    const { instructions, places } = loadable(row);
    const { accepted, errno, log } = verify({
      name: "row",
      type: row.type ?? "xdp",
      attachType: row.type === "sk_lookup" ? "sk_lookup" : undefined,
      instructions,
      maps: new Map(places.map(([slot, name]) => [slot, KNOWN[name]])),
      license: row.license ?? "GPL",
    });
    expect(accepted ? "accepted" : `${errno} ${reasonOf(log)}`).toBe(row.says);
  });

  describe.skipIf(noKernel !== undefined)(withKernel("so does the kernel"), () => {
    it.each(ROWS)("$name", async (row) => {
      using kernel = await Kernel.open();
      const { instructions, places } = loadable(row);
      const loaded = [...instructions];
      for (const [slot, name] of places) {
        const { fd } = createMap(kernel, MAPS[name]);
        loaded[slot] = { ...(loaded[slot] as Loadable["instructions"][number]), imm: fd };
      }
      const { result, log } = attemptLoad(
        kernel,
        {
          type: row.type ?? "xdp",
          instructions: loaded,
          license: row.license ?? "GPL",
          ...(row.type === "sk_lookup" ? { expectedAttachType: "sk_lookup" as const } : {}),
        },
        1,
      );
      if (result >= 0) new Handle(kernel, result).close();
      expect(result >= 0 ? "accepted" : `${nameOfErrno(result)} ${reasonOf(log)}`).toBe(row.says);
    });

    it("and random programs, fine ones and nearly fine ones", async () => {
      const { differences } = await compareRandom(60, 0, possibleCpus());
      expect(differences).toEqual([]);
    });
  });
});

describe("objects", () => {
  const object = (path: string): ReturnType<typeof parseObject> =>
    parseObject(readFileSync(join(import.meta.dirname, "../..", path)), { name: path });

  it("a program that is proved runs without checks, and one that is refused does not load", async () => {
    const machine = await Machine.create({ verify: true });
    const { programs, notes } = await machine.load(object("examples/rewrite/rewrite.bpf.o"), {
      programs: ["reflect"],
    });
    expect(programs["reflect"]?.safety).toBe("verified");
    expect(notes).toEqual([]);
    const refused = machine.load(object("test/fixtures/bad-programs.bpf.o"), { programs: ["endless"] });
    await expect(refused).rejects.toThrow(VerifierError);
  });

  it("what cannot be judged yet is unknown, never accepted", async () => {
    const spec = object("test/fixtures/callbacks.bpf.o");
    for (const name of Object.keys(spec.programs)) {
      const { accepted, verdict } = verifyObject(spec, name);
      expect(accepted).toBe(verdict === "accepted");
    }
  });
});
