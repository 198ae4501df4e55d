/** What checking the arguments of a kernel function finds out (struct bpf_kfunc_call_arg_meta). */
import type { Btf } from "../../btf/index.ts";
import type { VerifierMap } from "../input.ts";
import type { RecordField } from "../kernel-types/record.ts";
import type { Kfunc } from "../kfuncs.ts";
import type { DynptrView } from "../stack-objects/dynptr.ts";

export interface KfuncMeta {
  readonly kfunc: Kfunc;
  /** The reference that an argument holds. */
  refObjId: number;
  /** The register that is released; 0: none. */
  releaseRegno: number;
  subprogno: number;
  map: VerifierMap | undefined;
  mapUid: number;
  /** The argument that must be a constant. */
  constant: bigint | undefined;
  /** Bytes behind the pointer that comes back. */
  resultSize: number;
  resultReadOnly: boolean;
  iterator: { readonly frameno: number; readonly slot: number } | undefined;
  dynptr: DynptrView | undefined;
  /** The structure of an argument that is an allocated object. */
  object: { readonly btf: Btf; readonly id: number } | undefined;
  /** The object is the program's own. */
  owning: boolean;
  /** The root of a list or tree that an argument is. */
  root: RecordField | undefined;
}

export function createKfuncMeta(kfunc: Kfunc): KfuncMeta {
  return {
    kfunc,
    refObjId: 0,
    releaseRegno: 0,
    subprogno: 0,
    map: undefined,
    mapUid: 0,
    constant: undefined,
    resultSize: 0,
    resultReadOnly: false,
    iterator: undefined,
    dynptr: undefined,
    object: undefined,
    owning: false,
    root: undefined,
  };
}
