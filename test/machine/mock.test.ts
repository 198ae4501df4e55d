import { beforeEach, describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { ENGINES, Machine, type Program } from "../../src/machine/index.ts";
import { code } from "./code.ts";

const CALLS_CPU = "call bpf_get_smp_processor_id\nexit";
const CALLS_TIME = "call bpf_ktime_get_ns\nexit";
const ON_STACK = `
  *(u64 *)(r10 - 8) = 0x6968
  r1 = r10
  r1 += -8
  r2 = 8
  call bpf_get_current_comm
  r0 = *(u64 *)(r10 - 8)
  exit`;

describe.each(ENGINES)("%s", (engine) => {
  let machine: Machine;
  beforeEach(async () => {
    machine = await Machine.create({ engine, clock: "virtual" });
  });
  const load = (text: string): Program => machine.loadInstructions(code(text));

  test.each([
    ["a helper of the core", CALLS_CPU, "get_smp_processor_id", 0n],
    ["a helper of the host", CALLS_TIME, "ktime_get_ns", 3_600_000_000_000n],
  ])(
    "%s is answered by a mock, also after the first run, and itself again afterwards",
    (_, text, name, own) => {
      const program = load(text);
      expect(program.call()).toBe(own);
      const spy = machine.mockHelper(name, () => 77);
      expect(program.call()).toBe(77n);
      const inner = machine.mockHelper(`bpf_${name}`, (call) => call.original() + 1n);
      expect(program.call()).toBe(78n);
      inner.restore();
      expect(program.call()).toBe(77n);
      spy.restore();
      expect(program.call()).toBe(own);
      expect(spy.calls.length).toBe(3);
      expect(inner.calls).toEqual([{ program: "main", cpu: 0, args: [], result: 78n }]);
    },
  );

  test("a spy sees arguments and results of the helper itself", () => {
    const program = load("r1 = 7\nr2 = 0\ncall bpf_redirect\nexit");
    const spy = machine.spyHelper("redirect");
    program.call();
    expect(spy.calls).toEqual([{ program: "main", cpu: 0, args: [7n, 0n], result: 7n }]);
    spy.clear();
    expect(spy.calls).toEqual([]);
  });

  test("a mock reads and writes the memory that an argument points to; results are sign-extended", () => {
    const seen: unknown[] = [];
    machine.mockHelper("get_current_comm", (call) => {
      seen.push(call.u32(2), call.string(1), call.bytes(1, 3).slice(), call.program);
      call.view(1, 8).setBigUint64(0, 0x0102n, true);
      return -14;
    });
    const program = load(
      `${ON_STACK.replace("r0 = *(u64 *)(r10 - 8)", "r6 = r0\nr0 = *(u64 *)(r10 - 8)\nr0 += r6")}`,
    );
    expect(BigInt.asIntN(64, program.call())).toBe(0x0102n - 14n);
    expect(seen).toEqual([8, "hi", Uint8Array.of(0x68, 0x69, 0), "main"]);
  });

  test("a helper that asks for what the world lacks can be mocked; one that Linux has not cannot", () => {
    const program = load("r1 = 0\nr2 = 0\nr3 = 0\ncall bpf_ima_file_hash\nexit");
    expect(() => program.call()).toThrow(/nothing is known of what was measured of the file at 0x0/);
    machine.mockHelper("ima_file_hash", (call) => call.args.length);
    expect(program.call()).toBe(3n);
    expect(() => machine.spyHelper("no_such_helper")).toThrow(/Linux has no helper 'no_such_helper'/);
  });

  test("what a mock throws stops the run and names the instruction", () => {
    const program = load(`r6 = 1\n${CALLS_TIME}`);
    machine.mockHelper("ktime_get_ns", () => {
      throw new BpfError("helper", "no clock today");
    });
    try {
      program.call();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      expect((error as BpfError).message).toMatch(/no clock today/);
      expect((error as BpfError).where).toMatchObject({ program: "main", instruction: 1 });
    }
    machine.mockHelper("ktime_get_ns", () => 1.5);
    expect(() => program.call()).toThrow(/must return a whole number or a bigint, not 1.5/);
  });

  test("an argument that points nowhere is an error of the mock", () => {
    machine.mockHelper("get_current_comm", (call) => call.bytes(1, 8).length);
    const program = load(
      "lddw r1, 0xffffffff00000000\nr2 = 8\ncall bpf_get_current_comm\nexit"
        .replace("lddw r1, ", "r1 = ")
        .replace("0000\nr2", "0000 ll\nr2"),
    );
    expect(() => program.call()).toThrow(/argument 1 is 0xffffffff00000000, 8 bytes there are outside/);
  });
});
