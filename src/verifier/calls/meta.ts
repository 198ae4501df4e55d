/** What checking the arguments of a call finds out for those that come later (struct bpf_call_arg_meta). */
import type { Btf } from "../../btf/index.ts";
import type { HelperName } from "../../uapi/index.ts";
import type { VerifierMap } from "../input.ts";
import type { RecordField } from "../kernel-types/record.ts";
import type { RawMemory } from "../stack.ts";

export interface CallMeta extends RawMemory {
  readonly id: number;
  readonly name: HelperName | undefined;
  readonly packetAccess: boolean;
  map: VerifierMap | undefined;
  mapUid: number;
  /** Largest value of the length argument. */
  largestSize: number;
  /** Bytes that the helper allocates. */
  allocated: number;
  /** The reference that an argument holds. */
  refObjId: number;
  /** The register that is released; 0: none. */
  releaseRegno: number;
  subprogno: number;
  /** The constant key of an array; -1: not known. */
  constantKey: number;
  /** The kernel pointer that is exchanged. */
  kptr: { readonly field: RecordField; readonly pointer: NonNullable<RecordField["pointer"]> } | undefined;
  /** The type behind a pointer to per-CPU data. */
  percpu: { readonly btf: Btf; readonly id: number; readonly allocated: boolean } | undefined;
  dynptrId: number;
  /** It may move the packet, for a reason of its own. */
  changesPacket: boolean;
}

export function createMeta(id: number, name: HelperName | undefined, packetAccess: boolean): CallMeta {
  return {
    id,
    name,
    packetAccess,
    rawMode: false,
    accessSize: 0,
    regno: 0,
    map: undefined,
    mapUid: 0,
    largestSize: 0,
    allocated: 0,
    refObjId: 0,
    releaseRegno: 0,
    subprogno: 0,
    constantKey: -1,
    kptr: undefined,
    percpu: undefined,
    dynptrId: 0,
    changesPacket: false,
  };
}
