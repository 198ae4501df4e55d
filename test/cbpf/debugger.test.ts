import { describe, expect, it } from "vitest";
import { CbpfDebugger, assembleCbpf, runCbpf } from "../../src/cbpf/index.ts";
import { randomNumbers, randomPacket, randomProgram } from "./programs.ts";

const program = assembleCbpf(`
        ldh [12]
        jeq #0x800, ip, no
  ip:   ldb [23]
        st M[1]
        jeq #6, yes
  no:   ret #0
  yes:  ret #96`);
const tcp = new Uint8Array(60);
tcp.set([8, 0], 12);
tcp[23] = 6;

describe("the debugger", () => {
  it("steps both ways", () => {
    const debug = new CbpfDebugger(program, [tcp]);
    expect(debug.snapshot()).toMatchObject({ packet: 0, step: 0, pc: 0, a: 0, text: "(000) ldh      [12]" });
    expect(debug.step()).toMatchObject({ step: 1, pc: 1, a: 0x800 });
    expect(debug.step(3)).toMatchObject({ step: 4, pc: 4, a: 6 });
    expect(debug.snapshot().cells.slice(0, 3)).toEqual([0, 6, 0]);
    expect(debug.step(-2)).toMatchObject({ step: 2, pc: 2, a: 0x800 });
    expect(debug.snapshot().cells[1]).toBe(0);
    expect(debug.step(-9)).toMatchObject({ step: 0, pc: 0 });
    expect(debug.step(99)).toMatchObject({ step: 6, pc: undefined, value: 96, text: "" });
    expect(debug.step()).toMatchObject({ step: 6, value: 96 });
    expect(debug.step(-1)).toMatchObject({ step: 5, pc: 6, value: undefined });
  });

  it("stops at breakpoints, on the way there and back, packet by packet", () => {
    const debug = new CbpfDebugger(program, [tcp, new Uint8Array(60), new Uint8Array(3)]);
    debug.breakpoints.add(2).add(5);
    expect([debug.resume(), debug.snapshot().pc]).toEqual(["breakpoint", 2]);
    expect([debug.resume(), debug.snapshot().value]).toEqual(["end", 96]);
    expect([debug.resumeBack(), debug.snapshot().pc]).toEqual(["breakpoint", 2]);
    expect([debug.resumeBack(), debug.snapshot().pc]).toEqual(["end", 0]);
    expect(debug.select()).toMatchObject({ packet: 1, pc: 0 });
    expect([debug.resume(), debug.snapshot().pc]).toEqual(["breakpoint", 5]);
    expect(debug.select()).toMatchObject({ packet: 2 });
    expect([debug.resume(), debug.snapshot().value, debug.snapshot().step]).toEqual(["end", 0, 1]);
    expect(() => debug.select()).toThrow("there is no packet 3, there are 3");
    expect(debug.select(0)).toMatchObject({ packet: 0, step: 0 });
  });

  it("ends where the interpreter ends, and goes back to every state that it has shown", () => {
    const random = randomNumbers(9);
    for (let round = 0; round < 200; round++) {
      const one = randomProgram(random);
      const packet = randomPacket(random);
      const debug = new CbpfDebugger(one, [packet]);
      const states = [debug.snapshot()];
      while (states.at(-1)!.value === undefined) states.push(debug.step());
      expect(states.at(-1)!.value).toBe(runCbpf(one, packet));
      for (let index = states.length - 2; index >= 0; index--) expect(debug.step(-1)).toEqual(states[index]);
    }
  });
});
