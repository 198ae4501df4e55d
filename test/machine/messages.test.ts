/**
 * Messages that are made longer and shorter, and options of TCP headers. Expectations: net/core/filter.c (bpf_msg_push_data,
 * bpf_msg_pop_data, bpf_msg_pull_data, bpf_sock_ops_store_hdr_opt), RFC 6994; nothing of it has a test run in the kernel.
 */
import { describe, expect, test } from "vitest";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { code } from "./code.ts";

/** Calls one after the other; the last one's result above what the program then sees of the message. */
const calls = (
  ...rows: readonly (readonly [helper: string, start: number, length: number, flags?: number])[]
): string => `
  r6 = r1
  ${rows
    .map(
      ([helper, start, length, flags = 0]) =>
        `r1 = r6\nr2 = ${start}\nr3 = ${length}\nr4 = ${flags}\ncall bpf_msg_${helper}_data`,
    )
    .join("\n")}
  r0 <<= 32
  r1 = *(u64 *)(r6 + 0)
  r2 = *(u64 *)(r6 + 8)
  r2 -= r1
  r0 |= r2
  exit`;

describe.each(ENGINES)("messages, %s", (engine) => {
  test.each<[string, string, number, number, string]>([
    ["bytes at the front are what is seen", calls(["push", 0, 2]), 0, 2, "..abcdef"],
    ["bytes in the middle end what is seen", calls(["push", 2, 3]), 0, 2, "ab...cdef"],
    ["bytes at the end", calls(["push", 6, 1]), 0, 6, "abcdef."],
    ["no bytes", calls(["push", 9, 0]), 0, 6, "abcdef"],
    ["behind the end", calls(["push", 7, 1]), -22, 6, "abcdef"],
    ["flags", calls(["push", 0, 1, 1]), -22, 6, "abcdef"],
    ["the front goes", calls(["pop", 0, 2]), 0, 4, "cdef"],
    ["the middle goes and leaves a gap", calls(["pop", 2, 2]), 0, 2, "abef"],
    ["the end goes", calls(["pop", 4, 2]), 0, 4, "abcd"],
    ["more than there is", calls(["pop", 4, 3]), -22, 6, "abcdef"],
    ["from the end", calls(["pop", 6, 1]), -22, 6, "abcdef"],
    ["pulled together again", calls(["push", 2, 1], ["pull", 0, 7]), 0, 7, "ab.cdef"],
    ["a part is pulled", calls(["push", 2, 1], ["pull", 1, 4]), 0, 3, "ab.cdef"],
    ["pushed and popped", calls(["push", 3, 4], ["pop", 3, 4]), 0, 3, "abcdef"],
    ["across pieces", calls(["push", 3, 2], ["pop", 2, 4]), 0, 2, "abef"],
  ])("%s", async (_, program, result, seen, text) => {
    const machine = await Machine.create({ engine });
    const { r0, data, context } = machine
      .loadInstructions(code(program), { type: "sk_msg" })
      .run({ data: "abcdef", repeat: 2 });
    expect([Number(BigInt.asIntN(64, r0) >> 32n), Number(r0 & 0xffffffffn)]).toEqual([result, seen]);
    expect(new TextDecoder().decode(data).replaceAll("\0", ".")).toBe(text);
    expect(context["size"]).toBe(text.length);
  });

  test("as many pieces as the kernel has: then bytes are copied into one that is there", async () => {
    const machine = await Machine.create({ engine });
    const rows = Array.from({ length: 20 }, () => ["push", 1, 1] as const);
    const { r0, data } = machine
      .loadInstructions(code(calls(...rows)), { type: "sk_msg" })
      .run({ data: "ab" });
    expect(data?.length).toBe(22);
    expect(Number(r0 & 0xffffffffn)).toBe(1);
  });
});

const store = (option: readonly number[], length = option.length, flags = 0): string => {
  const bytes = new Uint8Array(16);
  bytes.set(option);
  const view = new DataView(bytes.buffer);
  return `
    r6 = r1
    r2 = 0x${view.getBigUint64(0, true).toString(16)} ll
    *(u64 *)(r10 - 16) = r2
    r2 = 0x${view.getBigUint64(8, true).toString(16)} ll
    *(u64 *)(r10 - 8) = r2
    r2 = r10
    r2 += -16
    r3 = ${length}
    r4 = ${flags}
    call bpf_store_hdr_opt
    exit`;
};

describe.each(ENGINES)("options, %s", (engine) => {
  // MSS 1460 and a NOP; a header has 20 bytes before.
  const OPTIONS = [2, 4, 5, 180, 1, 1, 1, 1];
  const header = (options: readonly number[] = OPTIONS): Uint8Array =>
    Uint8Array.of(...new Uint8Array(20), ...options);
  const run = async (program: string, op: string, data = header()) => {
    const machine = await Machine.create({ engine });
    const result = machine.loadInstructions(code(program), { type: "sock_ops" }).run({ op, data });
    return { status: result.returnValue | 0, options: [...(result.data ?? [])].slice(20) };
  };

  test.each<[string, readonly number[], number, number, number]>([
    ["is written behind the others", [27, 4, 1, 2], 4, 0, 0],
    ["is there already", [2, 4, 9, 9], 4, 0, -17],
    ["is longer than its buffer", [27, 8, 1, 2], 4, 0, -22],
    ["is padding", [1, 4, 1, 2], 4, 0, -22],
    ["with flags", [27, 4, 1, 2], 4, 1, -22],
    ["experimental, with a magic", [254, 4, 0xeb, 0x9f], 4, 0, 0],
    ["experimental, without one", [254, 3, 0xeb, 0], 4, 0, -22],
  ])("an option %s", async (_, option, length, flags, status) => {
    const result = await run(store(option, length, flags), "WRITE_HDR_OPT_CB");
    expect(result.status).toBe(status);
    expect(result.options).toEqual(status === 0 ? [...OPTIONS, ...option.slice(0, option[1])] : OPTIONS);
  });

  test("40 bytes of options are all there can be, and an end of options is an end", async () => {
    const full = Array.from({ length: 38 }, () => 1);
    expect((await run(store([27, 2]), "WRITE_HDR_OPT_CB", header(full))).status).toBe(0);
    expect((await run(store([27, 3, 0]), "WRITE_HDR_OPT_CB", header(full))).status).toBe(-28);
    expect((await run(store([27, 2]), "WRITE_HDR_OPT_CB", header([0, 0]))).status).toBe(-28);
    expect((await run(store([27, 2]), "WRITE_HDR_OPT_CB", header([2, 40]))).status).toBe(-14);
    expect((await run(store([27, 2]), "HDR_OPT_LEN_CB")).status).toBe(-1);
  });

  test("room for options is reserved before the header is written", async () => {
    const reserve = (...lengths: readonly number[]): string =>
      `r6 = r1\n${lengths.map((length) => `r1 = r6\nr2 = ${length}\nr3 = 0\ncall bpf_reserve_hdr_opt`).join("\n")}\nexit`;
    expect((await run(reserve(16), "HDR_OPT_LEN_CB", header([]))).status).toBe(0);
    expect((await run(reserve(16, 24), "HDR_OPT_LEN_CB", header([]))).status).toBe(0);
    expect((await run(reserve(16, 25), "HDR_OPT_LEN_CB", header([]))).status).toBe(-28);
    expect((await run(reserve(1), "HDR_OPT_LEN_CB", header([]))).status).toBe(-22);
    expect((await run(reserve(16), "WRITE_HDR_OPT_CB")).status).toBe(-1);
  });
});

test("what there is no header or message for is said", async () => {
  const machine = await Machine.create();
  const program = machine.loadInstructions(code(store([27, 2])), { type: "sock_ops" });
  expect(() => program.run({ op: "WRITE_HDR_OPT_CB" })).toThrow(
    /there is no TCP header to write to; run the program with/,
  );
});
