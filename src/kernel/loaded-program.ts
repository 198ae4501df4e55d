import { BpfError } from "../errors.ts";
import {
  type ContextValues,
  type Hook,
  contextTemplate,
  decodeContext,
  hookOf,
  returnName,
} from "../hooks/index.ts";
import { type RunInput, type RunResult, frameArea, withMetadata } from "../machine/index.ts";
import type { LinkedProgram } from "../object/index.ts";
import type { ProgramType } from "../uapi/index.ts";
import type { KernelProgram, TestRunResult } from "./program.ts";
import { LITTLE_ENDIAN } from "./struct.ts";

/** Input of a run; `context` may be raw bytes, for types whose context skep has no fields of. */
export interface KernelRunInput extends Omit<RunInput, "packet" | "context"> {
  readonly packet?: Uint8Array;
  readonly context?: ContextValues | Uint8Array;
}

/** What a run leaves: a machine's result, and the context's raw bytes. */
export interface KernelRunResult extends RunResult {
  readonly contextBytes: Uint8Array;
}

const ETHERNET_HEADER = 14;
const XDP_MD = { data: 0, dataEnd: 4 } as const;

/** Fields that the machine fills in by default and the kernel wants to be zero, or to mean a device. */
const DEFAULTED = ["ingress_ifindex", "ifindex"] as const;

/** A program of an object in the kernel, with the same face as a machine's `Program`. */
export class LoadedProgram {
  readonly raw: KernelProgram;
  readonly linked: LinkedProgram;
  readonly name: string;
  readonly type: ProgramType;
  /** The kernel's verifier has. */
  readonly verified = true;

  constructor(raw: KernelProgram, linked: LinkedProgram) {
    this.raw = raw;
    this.linked = linked;
    this.name = linked.name;
    this.type = raw.type;
  }

  /** What the verifier wrote at load: empty unless a log level was asked for. */
  get log(): string {
    return this.raw.log;
  }

  /**
   * Runs the program over one packet (BPF_PROG_TEST_RUN). `repeat` runs it more often, but unlike a machine the kernel
   * does not reset an xdp packet in between.
   *
   * @throws BpfError code "kernel", `errno` ENOTSUPP for types that the kernel cannot test-run.
   * @example
   * const { returnName, packet } = programs.firewall.run({ packet: frame });
   */
  run({ packet: given, context, repeat, metadata, linear, ...event }: KernelRunInput = {}): KernelRunResult {
    this.#refuse(event);
    const hook = hookOf(this.type);
    const area = frameArea(this.name, hook, metadata, linear);
    const packet = metadata === undefined || given === undefined ? given : withMetadata(metadata, given);
    const bytes = this.#context(hook, context, packet, area);
    const result = this.raw.testRun({
      ...(packet === undefined ? {} : { data: packet }),
      ...(bytes === undefined ? {} : { context: bytes }),
      ...(repeat === undefined ? {} : { repeat }),
    });
    const value = hook?.signed === true ? result.returnValue | 0 : result.returnValue;
    const before = this.type === "xdp" ? metadataLength(result) : 0;
    return {
      returnValue: value,
      r0: BigInt(result.returnValue),
      returnName: hook === undefined ? String(value) : returnName(hook, value),
      packet: this.#restore(packet, result.data.subarray(before)),
      metadata: result.data.subarray(0, before),
      context:
        hook === undefined || result.context.length < hook.context.size
          ? {}
          : decodeContext(hook, result.context),
      contextBytes: result.context,
      redirect: undefined,
      socket: undefined,
      durationNs: result.durationNs,
      verified: this.verified,
      safety: "verified",
    };
  }

  /** What a machine makes a context of must be given to the kernel as a context's bytes. */
  #refuse({
    cpu: _cpu,
    engine: _engine,
    layer: _layer,
    ...rest
  }: Omit<KernelRunInput, "packet" | "context" | "repeat">): void {
    const [key] = Object.keys(rest);
    if (key === undefined) return;
    throw new BpfError(
      "context",
      `program '${this.name}': '${key}' is for runs outside of the kernel; give the context as bytes`,
      {
        where: { program: this.name },
      },
    );
  }

  /** The context in the kernel's form: it wants computed fields to be zero, but for an xdp packet's end. */
  #context(
    hook: Hook | undefined,
    given: KernelRunInput["context"],
    packet: Uint8Array | undefined,
    { meta = 0, linear }: ReturnType<typeof frameArea>,
  ): Uint8Array | undefined {
    if (given instanceof Uint8Array) return given;
    if (hook === undefined) {
      if (given === undefined) return undefined;
      throw new BpfError(
        "context",
        `program '${this.name}': the context of ${this.type} programs must be given as bytes`,
        {
          where: { program: this.name },
        },
      );
    }
    const bytes = contextTemplate(hook, given);
    const view = new DataView(bytes.buffer);
    for (const name of DEFAULTED) {
      const field = hook.context.fields.find((row) => row.name === name);
      if (field !== undefined && given?.[name] === undefined) view.setUint32(field.offset, 0, LITTLE_ENDIAN);
    }
    if (this.type === "xdp") {
      const length = packet?.length ?? 0;
      view.setUint32(XDP_MD.data, meta, LITTLE_ENDIAN);
      view.setUint32(XDP_MD.dataEnd, Math.min(length, linear ?? length), LITTLE_ENDIAN);
    }
    return bytes;
  }

  /** A socket filter's packet comes back with zeros for its link header, which the program could not see. */
  #restore(packet: Uint8Array | undefined, data: Uint8Array): Uint8Array {
    if (this.type === "socket_filter" && packet !== undefined) data.set(packet.subarray(0, ETHERNET_HEADER));
    return data;
  }
}

/** The packet of an xdp run comes back with its metadata before it; the context tells how much. */
function metadataLength({ context }: TestRunResult): number {
  if (context.length < 8) return 0;
  return new DataView(context.buffer, context.byteOffset).getUint32(XDP_MD.data, LITTLE_ENDIAN);
}
