/** The kernel's own answers beside ours: the same packets through BPF_PROG_TEST_RUN of the same program. */
import type { PacketBatch } from "../../capture/index.ts";
import { BpfError } from "../../errors.ts";
import { returnName } from "../../hooks/index.ts";
import { KernelMachine, type KernelLoaded, type LoadedProgram } from "../../kernel/index.ts";
import type { Packets, Program } from "../../machine/index.ts";
import type { ObjectSpec } from "../../object/index.ts";
import { fillMaps } from "../map-file.ts";
import { type MapReport, mapReports } from "../maps.ts";
import { type Tally, Verdicts } from "./verdicts.ts";

/** What `run --kernel` reports. */
export interface KernelReport {
  readonly verdicts: readonly Tally[];
  /** Packets that TEST_RUN does not take: shorter than their headers. */
  readonly refused: number;
  /** Packets whose verdict is not ours, numbered from 1. */
  readonly differences: number;
  readonly firstDifferences: readonly {
    readonly packet: number;
    readonly ours: string;
    readonly kernel: string;
  }[];
  readonly nsPerPacket: number;
  readonly maps: readonly MapReport[];
}

const SHOWN_DIFFERENCES = 10;

export class KernelShadow {
  readonly #machine: KernelMachine;
  readonly #loaded: KernelLoaded;
  readonly #program: LoadedProgram;
  readonly #ours: Program;
  readonly #verdicts: Verdicts;
  readonly #differences: { packet: number; ours: string; kernel: string }[] = [];
  #differing = 0;
  #refused = 0;
  #ns = 0;

  private constructor(machine: KernelMachine, loaded: KernelLoaded, ours: Program) {
    this.#machine = machine;
    this.#loaded = loaded;
    this.#program = loaded.programs[ours.name] as LoadedProgram;
    this.#ours = ours;
    this.#verdicts = new Verdicts(ours);
  }

  /** Loads the program into the kernel. */
  static async create(spec: ObjectSpec, ours: Program, mapFile: string | undefined): Promise<KernelShadow> {
    const machine = await KernelMachine.create();
    try {
      const loaded = machine.load(spec, { programs: [ours.name] });
      if (mapFile !== undefined) await fillMaps(mapFile, loaded.maps);
      return new KernelShadow(machine, loaded, ours);
    } catch (error) {
      machine.close();
      throw error;
    }
  }

  /** Runs the packets of a batch; `results` and `faulted` are what our engine answered. */
  add(batch: PacketBatch, { count }: Packets, results: Uint32Array, faulted: ReadonlySet<number>): void {
    const { hook } = this.#ours;
    const answers = new Uint32Array(count);
    const refused = new Set<number>();
    for (let index = 0; index < count; index++) {
      const start = batch.offset[index] as number;
      const packet = batch.data.subarray(start, start + (batch.capturedLength[index] as number));
      try {
        const { returnValue, durationNs } = this.#program.run({ packet });
        answers[index] = returnValue;
        this.#ns += durationNs;
      } catch (error) {
        if (!(error instanceof BpfError) || error.errno !== "EINVAL") throw error;
        refused.add(index);
        continue;
      }
      if (answers[index] === results[index] && !faulted.has(index)) continue;
      this.#differing++;
      if (this.#differences.length === SHOWN_DIFFERENCES) continue;
      this.#differences.push({
        packet: batch.firstNumber + index,
        ours: faulted.has(index)
          ? "stopped"
          : returnName(hook, this.#ours.readResult(results[index] as number)),
        kernel: returnName(hook, this.#ours.readResult(answers[index] as number)),
      });
    }
    this.#refused += refused.size;
    this.#verdicts.add(answers, { ...batch, count }, refused);
  }

  report(): KernelReport {
    const answered = this.#verdicts.packets - this.#refused;
    return {
      verdicts: this.#verdicts.rows(),
      refused: this.#refused,
      differences: this.#differing,
      firstDifferences: this.#differences,
      nsPerPacket: answered === 0 ? 0 : this.#ns / answered,
      maps: mapReports(this.#loaded.maps),
    };
  }

  /** Lets go of all that was loaded. */
  close(): void {
    this.#machine.close();
  }
}
