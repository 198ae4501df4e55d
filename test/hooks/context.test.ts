import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { HOOKS, contextTemplate, decodeContext, hookOf as hook, returnName } from "../../src/hooks/index.ts";

describe("contexts", () => {
  it("start from what a test run in the kernel shows", () => {
    expect(decodeContext(hook("xdp"), contextTemplate(hook("xdp")))).toMatchObject({
      ingress_ifindex: 1,
      rx_queue_index: 0,
    });
    expect(decodeContext(hook("sched_cls"), contextTemplate(hook("sched_cls")))).toMatchObject({
      ifindex: 1,
      mark: 0,
    });
  });

  it.each(HOOKS.map((row) => [row.type, row] as const))(
    "of %s: every field that can be set comes back",
    (_type, row) => {
      const settable = row.context.fields.filter(({ input }) => input === true);
      const values = Object.fromEntries(
        settable.map(({ name, size, count }, index) => [
          name,
          count === undefined
            ? size === 8
              ? BigInt(index + 1) << 33n
              : index + 1
            : Array.from({ length: count }, (_, at) => index + at),
        ]),
      );
      expect(decodeContext(row, contextTemplate(row, values))).toMatchObject(values);
    },
  );

  it.each([
    [{ nope: 1 }, /xdp_md\.nope: no such field; settable are ingress_ifindex/],
    [{ data: 1 }, /xdp_md\.data: is computed from the packet/],
    [{ ingress_ifindex: 2 ** 32 }, /does not fit 32 bits/],
    [{ ingress_ifindex: 1.5 }, /does not fit/],
    [{ ingress_ifindex: [1, 2] }, /2 values for 1/],
  ])("refuse %j", (values, message) => {
    expect(() => contextTemplate(hook("xdp"), values)).toThrow(BpfError);
    expect(() => contextTemplate(hook("xdp"), values)).toThrow(message);
  });
});

describe("results", () => {
  it.each([
    ["xdp", 0, "XDP_ABORTED", "drop"],
    ["xdp", 1, "XDP_DROP", "drop"],
    ["xdp", 2, "XDP_PASS", "pass"],
    ["xdp", 3, "XDP_TX", "pass"],
    ["xdp", 4, "XDP_REDIRECT", "pass"],
    ["xdp", 77, "77", "drop"],
    ["sched_cls", -1, "TC_ACT_UNSPEC", "pass"],
    ["sched_cls", 0, "TC_ACT_OK", "pass"],
    ["sched_cls", 2, "TC_ACT_SHOT", "drop"],
    ["sched_cls", 8, "TC_ACT_TRAP", "drop"],
    ["sched_cls", 99, "99", "pass"],
    ["socket_filter", 0, "DROP", "drop"],
    ["socket_filter", 0xffffffff, "KEEP", "pass"],
  ] as const)("%s %i is %s", (type, value, name, fate) => {
    const row = hook(type);
    expect(returnName(row, value)).toBe(name);
    const { packet } = row;
    expect(packet?.fate(value)).toBe(fate);
    // The same answer as a bit of the mask that the core goes by.
    const bit = Math.min(value >>> 0, 31);
    expect((((packet?.passMask ?? 0) >>> bit) & 1) === 1).toBe(fate === "pass");
  });
});
