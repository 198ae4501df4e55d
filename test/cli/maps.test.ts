import { describe, expect, it } from "vitest";
import { renderMaps } from "../../src/cli/maps.ts";
import { processTerminal } from "../../src/cli/terminal.ts";

const ID = Uint8Array.of(7, 0, 0, 0);
const stack = (...addresses: bigint[]): Uint8Array =>
  new Uint8Array(BigUint64Array.from([...addresses, 0n, 0n]).buffer);

describe("maps as text", () => {
  const cases: [what: string, type: string, value: unknown, line: string][] = [
    ["a stack", "stack_trace", stack(0xffffffff81565bc0n, 0x401000n), "0xffffffff81565bc0 0x401000"],
    ["a hole in a stack", "stack_trace", stack(0x401000n, 0n, 0x402000n), "0x401000 0x0 0x402000"],
    ["an empty stack", "stack_trace", stack(), "(empty)"],
    ["a stack that is cut", "stack_trace", stack(0x401000n).subarray(0, 12), "0x401000"],
    ["bytes", "hash", Uint8Array.of(1, 2), "0102"],
    ["a structure", "hash", { packets: 1, last: { cpu: 2 } }, "packets=1 last={cpu=2}"],
  ];
  it.each(cases)("%s", (_what, type, value, line) => {
    const plain = { ...processTerminal(), style: (_style: string, text: string) => text };
    const lines = renderMaps([{ name: "m", type, entries: [{ key: ID, value }] }], plain, { all: false });
    expect(lines).toEqual(["", `map m  ${type}, 1 element`, `  07000000  ${line}`]);
  });
});
