/** What BTF says of a program's functions and lines (check_btf_info_early, check_btf_func, check_btf_line). */
import { resolve } from "../btf/index.ts";
import type { Environment, Subprogram } from "./environment.ts";

/** Without BTF, functions that leave the program in unusual ways could return anything. */
function checkAbnormalReturn(env: Environment): void {
  for (let number = 1; number < env.subprogramCount; number++) {
    const { hasLoadAbs, hasTailCall } = env.subprograms[number] as Subprogram;
    if (hasLoadAbs) throw env.reject("EINVAL", "LD_ABS is not allowed in subprogs without BTF");
    if (hasTailCall) throw env.reject("EINVAL", "tail_call is not allowed in subprogs without BTF");
  }
}

export function checkProgramInfo(env: Environment): void {
  const { functionInfo = [], lines = [] } = env.program;
  if (functionInfo.length === 0 && lines.length === 0) return checkAbnormalReturn(env);
  checkFunctions(env);
  checkLines(env);
}

function checkFunctions(env: Environment): void {
  const { functionInfo = [], btf, hidden } = env.program;
  if (functionInfo.length === 0 || btf === undefined) return checkAbnormalReturn(env);
  if (functionInfo.length !== env.subprogramCount) {
    throw env.reject("EINVAL", "number of funcs in func_info doesn't match number of subprogs");
  }
  for (const [number, { slot, type: id }] of functionInfo.entries()) {
    const subprogram = env.subprograms[number] as Subprogram;
    if (subprogram.start !== slot) {
      throw env.reject("EINVAL", "func_info BTF section doesn't match subprog layout in BPF program");
    }
    const type = btf.type(id);
    if (type.kind !== "func") throw env.reject("EINVAL", `invalid type id ${id} in func info`);
    subprogram.name = type.name;
    subprogram.linkage = hidden?.has(id) === true ? "static" : type.linkage;
    if (number === 0) continue;
    const prototype = btf.type(type.type);
    const result = prototype.kind === "func_proto" ? resolve(btf, prototype.type) : undefined;
    const scalar =
      result !== undefined &&
      ((result.kind === "int" && [1, 2, 4, 8].includes(result.size)) ||
        result.kind === "enum" ||
        result.kind === "enum64");
    if (!scalar && subprogram.hasLoadAbs) {
      throw env.reject("EINVAL", "LD_ABS is only allowed in functions that return 'int'.");
    }
    if (!scalar && subprogram.hasTailCall) {
      throw env.reject("EINVAL", "tail_call is only allowed in functions that return 'int'.");
    }
  }
}

function checkLines(env: Environment): void {
  const { lines = [] } = env.program;
  if (lines.length === 0) return;
  let next = 0;
  let previous = 0;
  for (const [number, { slot }] of lines.entries()) {
    if ((number > 0 && slot <= previous) || slot >= env.instructions.length) {
      throw env.reject(
        "EINVAL",
        `Invalid line_info[${number}].insn_off:${slot} (prev_offset:${previous} prog->len:${env.instructions.length})`,
      );
    }
    if (env.instructions[slot]?.opcode === 0) {
      throw env.reject("EINVAL", `Invalid insn code at line_info[${number}].insn_off`);
    }
    if (next !== env.subprogramCount) {
      const { start } = env.subprograms[next] as Subprogram;
      if (slot === start) next++;
      else if (start < slot) throw env.reject("EINVAL", `missing bpf_line_info for func#${next}`);
    }
    previous = slot;
  }
  if (next !== env.subprogramCount) {
    throw env.reject(
      "EINVAL",
      `missing bpf_line_info for ${env.subprogramCount - next} funcs starting from func#${next}`,
    );
  }
}
