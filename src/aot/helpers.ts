/**
 * Helpers that only the host can answer, as imports of plain types: the glue reads r1 to r5 from the execution state, as
 * compiled code leaves them there, and puts the result into r0.
 */
import { EXEC_REGS } from "../core/layout.ts";
import { HOST_HELPERS } from "../machine/helpers/table.ts";
import { type ProgramType, helperId, kfuncOf, prototypeOf } from "../uapi/index.ts";
import { TYPE_I32, TYPE_I64, type WasmType } from "../jit/wasm.ts";
import type { GlueFunction, OutsideFunction } from "./link.ts";

/** The module that imports come from. */
export const HOST_MODULE = "host";

const REGISTER_BYTES = 8;
/** Binary logarithm of it. */
const REGISTER_ALIGN = 3;

/** Addresses and their lengths fit 32 bits here; `anything` is a register. */
function valueType(argument: string | undefined): number {
  return argument !== undefined && /^(ptr_|const_|kptr_)/.test(argument) ? TYPE_I32 : TYPE_I64;
}

/** The signature that a helper has as an import: pointers and lengths are i32, all else i64. */
export function helperSignature(name: string, type: ProgramType | undefined): WasmType {
  const id = helperId(name) ?? 0;
  const prototype = type === undefined ? undefined : prototypeOf(id, { type });
  const count = HOST_HELPERS.find((row) => row.name === name)?.args ?? prototype?.args.length ?? 5;
  const params = Array.from({ length: count }, (_, index) => valueType(prototype?.args[index]));
  if (prototype?.returns.startsWith("void") === true) return { params, results: [] };
  return { params, results: [valueType(prototype?.returns)] };
}

/** The same for a kernel function. */
export function kfuncSignature(name: string): WasmType {
  const row = kfuncOf(name);
  const params = row?.args.map((declaration) => (declaration.includes("*") ? TYPE_I32 : TYPE_I64));
  return {
    params: params ?? Array.from({ length: 5 }, () => TYPE_I64),
    results: row?.returns === "void" ? [] : [row?.returns.includes("*") === true ? TYPE_I32 : TYPE_I64],
  };
}

const TRAP_TYPE: WasmType = { params: [TYPE_I32], results: [] };

/** What compiled code calls for a helper of the host. */
export function helperGlue(name: string, signature: WasmType): GlueFunction {
  const outside: OutsideFunction = { kind: "outside", module: HOST_MODULE, name, type: signature };
  return {
    kind: "glue",
    name: `helper_${name}`,
    type: TRAP_TYPE,
    calls: [outside],
    write(body, [target = 0]) {
      body.unsigned(0);
      // The address of r0, for the store at the end.
      body.opIndex("local.get", 0);
      signature.params.forEach((param, index) => {
        body.opIndex("local.get", 0);
        const offset = EXEC_REGS + REGISTER_BYTES * (index + 1);
        if (param === TYPE_I32) body.memory("i32.load", 2, offset);
        else body.memory("i64.load", REGISTER_ALIGN, offset);
      });
      body.opIndex("call", target);
      if (signature.results.length === 0) body.i64Const(0, 0);
      else if (signature.results[0] === TYPE_I32) body.op("i64.extend_i32_u");
      body.memory("i64.store", REGISTER_ALIGN, EXEC_REGS);
      body.op("end");
    },
  };
}

/** A function that is never meant to be reached. */
export function trap(name: string, type: WasmType = TRAP_TYPE): GlueFunction {
  return {
    kind: "glue",
    name,
    type,
    calls: [],
    write(body) {
      body.unsigned(0);
      body.op("unreachable");
      body.op("end");
    },
  };
}
