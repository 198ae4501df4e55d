/**
 * Interfaces that the kernel here lacks: schedulers (sched_ext) and HID devices. Structures are those of a fixture with the kernel's names; rules follow
 * kernel/sched/ext.c and drivers/hid/bpf/hid_bpf_struct_ops.c.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { findMember } from "../../src/btf/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { reasonOf, verify } from "../../src/verifier/index.ts";

const spec = parseObject(readFileSync("test/fixtures/interfaces.bpf.o"), { name: "interfaces.bpf.o" });
const btf = spec.btf;
if (btf === undefined) throw new Error("the fixture has types");

function structId(name: string): number {
  return btf?.find(name, "struct")[0]?.id ?? 0;
}

/** Bytes from the beginning of a structure to a member. */
function offset(struct: string, ...path: readonly string[]): number {
  let id = structId(struct);
  let at = 0;
  for (const name of path) {
    const member = btf === undefined ? undefined : findMember(btf, id, name);
    if (member === undefined) throw new Error(`${struct} has no ${name}`);
    at += member.bitOffset / 8;
    id = member.type;
  }
  return at;
}

function judge(struct: string, method: string, text: string, sleepable = false): string {
  const type = btf?.type(structId(struct));
  if (btf === undefined || type?.kind !== "struct") throw new Error(struct);
  const { accepted, errno, log } = verify({
    name: "row",
    type: "struct_ops",
    structOps: { struct: structId(struct), member: type.members.findIndex(({ name }) => name === method) },
    instructions: assemble(text).instructions,
    maps: new Map(),
    license: "GPL",
    sleepable,
    kernelBtf: btf,
  });
  return accepted ? "" : `${errno} ${reasonOf(log)}`;
}

const SCHED = "sched_ext_ops";
const HID = "hid_bpf_ops";
const slice = offset("task_struct", "scx", "slice");
const name = offset("hid_device", "name");
const task = "r1 = *(u64*)(r1 + 0)\n";

/** One byte of the name of a device. */
function named(at: number): string {
  return `${task}r1 = *(u64*)(r1 + 0)\nr2 = 0\n*(u8*)(r1 + ${name + at}) = r2\nr0 = 0\nexit`;
}

const ROWS: readonly (readonly [what: string, said: string, wanted: string])[] = [
  ["a slice is set", judge(SCHED, "enqueue", `${task}r2 = 1\n*(u64*)(r1 + ${slice}) = r2\nr0 = 0\nexit`), ""],
  [
    "the lower half of a time is set",
    judge(SCHED, "enqueue", `${task}r2 = 1\n*(u32*)(r1 + ${slice + 8}) = r2\nr0 = 0\nexit`),
    "",
  ],
  [
    "something else is set",
    judge(SCHED, "enqueue", `${task}r2 = 1\n*(u32*)(r1 + 0) = r2\nr0 = 0\nexit`),
    "EACCES",
  ],
  [
    "more than the slice is set",
    judge(SCHED, "enqueue", `${task}r2 = 1\n*(u64*)(r1 + ${slice - 4}) = r2\nr0 = 0\nexit`),
    "EACCES",
  ],
  [
    "a task that there may not be",
    judge(SCHED, "dispatch", "r1 = *(u64*)(r1 + 8)\nr0 = *(u32*)(r1 + 0)\nexit"),
    "EACCES R1 invalid mem access 'trusted_ptr_or_null_'",
  ],
  [
    "and without a stub that says so",
    judge(SCHED, "yield", "r1 = *(u64*)(r1 + 8)\nr0 = *(u32*)(r1 + 0)\nexit"),
    "EACCES R1 invalid mem access 'trusted_ptr_or_null_'",
  ],
  [
    "a task that is tested",
    judge(SCHED, "dispatch", "r1 = *(u64*)(r1 + 8)\nr0 = 0\nif r1 == 0 goto +1\nr0 = *(u32*)(r1 + 0)\nexit"),
    "",
  ],
  ["a helper for all", judge(SCHED, "enqueue", "call 5\nr0 = 0\nexit"), ""],
  [
    "a helper for TCP",
    judge(SCHED, "enqueue", "call 116\nr0 = 0\nexit"),
    "EINVAL program of this type cannot use helper bpf_tcp_send_ack#116",
  ],
  [
    "storage of tasks",
    judge(SCHED, "enqueue", "r0 = 0\ncall 156\nr0 = 0\nexit"),
    "EACCES R1 type=ctx expected=map_ptr",
  ],
  [
    "a helper for sockets",
    judge(HID, "hid_rdesc_fixup", "call 57\nr0 = 0\nexit"),
    "EINVAL program of this type cannot use helper bpf_getsockopt#57",
  ],
  [
    "sleeping where one may not",
    judge(SCHED, "enqueue", "r0 = 0\nexit", true),
    "EINVAL attach to unsupported member enqueue of struct sched_ext_ops",
  ],
  ["sleeping where one may", judge(SCHED, "init", "r0 = 0\nexit", true), ""],
  [
    "an answer",
    judge(
      HID,
      "hid_device_event",
      `${task}r2 = 0\n*(u32*)(r1 + ${offset("hid_bpf_ctx", "retval")}) = r2\nr0 = 0\nexit`,
    ),
    "",
  ],
  [
    "a size",
    judge(
      HID,
      "hid_device_event",
      `${task}r2 = 0\n*(u32*)(r1 + ${offset("hid_bpf_ctx", "size")}) = r2\nr0 = 0\nexit`,
    ),
    `EACCES write access at off ${offset("hid_bpf_ctx", "size")} with size 4 on read-only part of hid_bpf_ctx`,
  ],
  ["a name", judge(HID, "hid_rdesc_fixup", named(0)), ""],
  [
    "the last byte of a name",
    judge(HID, "hid_rdesc_fixup", named(15)),
    `EACCES write access at off ${name + 15} with size 1 on read-only part of hid_device`,
  ],
];

test("methods of an interface that is not known are unknown", () => {
  expect(judge("sched_ext_entity", "flags", "r0 = 0\nexit")).toContain(
    "EINVAL attach to invalid member flags",
  );
  expect(judge("unknown_ops", "init", "r0 = 0\nexit")).toContain("EOPNOTSUPP methods of unknown_ops");
});

describe("a program of an interface:", () => {
  test.each(ROWS)("%s", (_, said, wanted) => {
    if (wanted === "") expect(said).toBe("");
    else expect(said).toContain(wanted);
  });
});
