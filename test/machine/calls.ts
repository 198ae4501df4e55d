/** One call of a helper or a kernel function, of which registers are given, by a bare program that nobody has verified. */
import { assemble } from "../../src/asm/index.ts";
import {
  type Engine,
  type KernelObject,
  Machine,
  type MachineOptions,
  type Program,
  type RunInput,
} from "../../src/machine/index.ts";
import { type AttachType, type ProgramType, helperId } from "../../src/uapi/index.ts";

/** A number, a structure, or the context of the run. */
export type Register = number | bigint | KernelObject | "context";

export interface CallOptions {
  readonly type?: ProgramType;
  readonly attachType?: AttachType;
  /** What the run is given. */
  readonly input?: RunInput;
}

export interface Calls {
  readonly machine: Machine;
  /** r0, signed. "bpf_" begins the names of kernel functions, as it does there, and of no helper. */
  call(name: string, registers: readonly Register[], options?: CallOptions): number;
  /** The same, and what else the run says. */
  run(name: string, registers: readonly Register[], options?: CallOptions): ReturnType<Program["run"]>;
  /** Memory of the program's: bytes, or so many zeros. */
  place(bytes: Uint8Array | string | number): number;
  read(address: number, length: number): number[];
}

const PACKET = Uint8Array.from({ length: 64 }, (_, at) => (at === 12 ? 8 : at === 14 ? 0x45 : 0));
const PACKET_TYPES: readonly string[] = ["sched_cls", "xdp", "cgroup_skb"];

export async function createCalls(engine: Engine, options: MachineOptions = {}): Promise<Calls> {
  const machine = await Machine.create({ engine, clock: "virtual", ...options });
  const run: Calls["run"] = (name, registers, { type = "syscall", attachType, input } = {}) => {
    const id = helperId(name);
    const loads = registers.map((value, index) => {
      if (value === "context") return `r${index + 1} = r6`;
      return `r${index + 1} = ${typeof value === "object" ? value.address : value} ll`;
    });
    const { instructions } = assemble(`r6 = r1\n${loads.join("\n")}\ncall ${id ?? 1}\nexit`);
    const slot = instructions.length - 2;
    const called = instructions.map((one, at) =>
      id === undefined && at === slot ? { ...one, src: 2, imm: 0 } : one,
    );
    const program = machine.loadInstructions(called, {
      type,
      unverified: "trusted",
      ...(attachType === undefined ? {} : { attachType }),
      references: id === undefined ? new Map([[slot, { kind: "extern", extern: name }]]) : new Map(),
    });
    return program.run(input ?? (PACKET_TYPES.includes(type) ? { packet: PACKET } : {}));
  };
  return {
    machine,
    run,
    call(name, registers, given) {
      // Of a run over a packet 32 bits are kept.
      const bits = PACKET_TYPES.includes(given?.type ?? "") ? 32 : 64;
      return Number(BigInt.asIntN(bits, run(name, registers, given).r0));
    },
    place(bytes) {
      const content = typeof bytes === "string" ? new TextEncoder().encode(`${bytes}\0`) : bytes;
      const size = typeof content === "number" ? content : content.length;
      const at = machine.memory.alloc(Math.max(8, size), "given", 8);
      machine.memory.write(at, typeof content === "number" ? new Uint8Array(content) : content);
      return at;
    },
    read: (address, length) => [...machine.memory.read(address, length)],
  };
}
