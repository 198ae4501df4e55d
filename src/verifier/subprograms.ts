/** The functions of a program: where they begin, and that jumps stay inside them. */
import type { Btf } from "../btf/index.ts";
import { CLASSES, type Instruction } from "../isa/index.ts";
import { type Environment, Subprogram } from "./environment.ts";
import {
  CALL,
  EXIT,
  GOTO,
  GOTO_LONG,
  HELPER,
  isHelperCall,
  isJump,
  isKfuncCall,
  isPseudoCall,
  isPseudoFunction,
  jumpDistance,
} from "./kinds.ts";
import { checkKfunc } from "./kfuncs.ts";
import { LEVEL2 } from "./log.ts";

const MAX_SUBPROGRAMS = 256;

/** Number of the function that holds a slot (bpf_find_containing_subprog). */
export function containingSubprogram(env: Environment, slot: number): number {
  let low = 0;
  let high = env.subprogramCount - 1;
  while (low < high) {
    const middle = low + ((high - low + 1) >> 1);
    if ((env.subprograms[middle] as Subprogram).start <= slot) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Number of the function that begins at a slot, or -1. */
export function findSubprogram(env: Environment, slot: number): number {
  if (slot < 0 || slot >= env.instructions.length || env.subprogramCount === 0) return -1;
  const found = containingSubprogram(env, slot);
  return (env.subprograms[found] as Subprogram).start === slot ? found : -1;
}

function add(env: Environment, slot: number): void {
  if (slot >= env.instructions.length || slot < 0) throw env.reject("EINVAL", "call to invalid destination");
  if (findSubprogram(env, slot) >= 0) return;
  if (env.subprogramCount >= MAX_SUBPROGRAMS) throw env.reject("E2BIG", "too many subprograms");
  env.subprograms.push(new Subprogram(slot));
  env.subprograms.sort((a, b) => a.start - b.start);
  env.subprogramCount++;
}

/**
 * A program may name a function that runs when an exception ends it, by the tag "exception_callback:" of its main function
 * (bpf_find_exception_callback_insn_off).
 */
function addExceptionCallback(env: Environment): void {
  const { functionInfo = [], btf } = env.program;
  const main = functionInfo[0];
  if (main === undefined || btf === undefined) return;
  const found = declarationTags(btf, main.type, "exception_callback:");
  const [name, another] = found;
  if (name === undefined) return;
  if (another !== undefined) throw env.reject("EEXIST", "multiple exception callback tags for main subprog");
  const [func] = btf.find(name, "func");
  if (func?.kind !== "func") {
    throw env.reject("ENOENT", `exception callback '${name}' could not be found in BTF`);
  }
  if (func.linkage !== "global" || env.program.hidden?.has(func.id) === true) {
    throw env.reject("EINVAL", `exception callback '${name}' must have global linkage`);
  }
  const slot = functionInfo.find(({ type }) => type === func.id)?.slot;
  if (slot === 0) throw env.reject("EINVAL", "invalid exception callback insn_off in func_info: 0");
  if (slot === undefined) {
    throw env.reject("EINVAL", "exception callback type id not found in func_info");
  }
  add(env, slot);
  const number = findSubprogram(env, slot);
  env.exceptionCallback = number;
  const subprogram = env.subprograms[number] as Subprogram;
  subprogram.isCallback = true;
  subprogram.isAsyncCallback = true;
  subprogram.isExceptionCallback = true;
}

/** What follows a prefix in the declaration tags of a function. */
function declarationTags(btf: Btf, type: number, prefix: string): string[] {
  const found: string[] = [];
  for (let id = btf.firstId; id < btf.count; id++) {
    if (btf.kind(id) !== "decl_tag") continue;
    const tag = btf.type(id);
    if (tag.kind !== "decl_tag" || tag.type !== type || tag.component !== -1) continue;
    if (tag.name.startsWith(prefix)) found.push(tag.name.slice(prefix.length));
  }
  return found;
}

/** Every slot that is called or whose address is taken begins a function (add_subprog_and_kfunc). */
export function addSubprograms(env: Environment): void {
  const { instructions } = env;
  add(env, 0);
  for (let index = 0; index < instructions.length; index++) {
    const instruction = instructions[index] as Instruction;
    const calls = isPseudoFunction(instruction) || isPseudoCall(instruction);
    if ((calls || isKfuncCall(instruction)) && !env.hasBpf) {
      throw env.reject(
        "EPERM",
        "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN",
      );
    }
    if (calls) add(env, index + instruction.imm + 1);
    else if (isKfuncCall(instruction)) checkKfunc(env, instruction);
  }
  addExceptionCallback(env);
  env.subprograms.push(new Subprogram(instructions.length));
  if ((env.log.level & LEVEL2) === 0) return;
  for (let number = 0; number < env.subprogramCount; number++) {
    env.verbose(`func#${number} @${(env.subprograms[number] as Subprogram).start}\n`);
  }
}

/** Jumps stay inside their function, and no function runs into the next (check_subprogs). */
export function checkSubprograms(env: Environment): void {
  const { instructions, subprograms } = env;
  let current = 0;
  let start = (subprograms[0] as Subprogram).start;
  let end = (subprograms[1] as Subprogram).start;
  for (let index = 0; index < instructions.length; index++) {
    const instruction = instructions[index] as Instruction;
    const { opcode, imm } = instruction;
    const subprogram = subprograms[current] as Subprogram;
    if (isHelperCall(instruction) && imm === HELPER.tail_call) {
      subprogram.hasTailCall = true;
      subprogram.tailCallReachable = true;
    }
    const mode = opcode & 0xe0;
    if ((opcode & 7) === CLASSES.ld && (mode === 0x20 || mode === 0x40)) subprogram.hasLoadAbs = true;
    const operation = opcode & 0xf0;
    if (isJump(instruction) && operation !== (EXIT & 0xf0) && operation !== (CALL & 0xf0)) {
      const target = index + jumpDistance(instruction) + 1;
      if (target < start || target >= end) {
        throw env.reject("EINVAL", `jump out of range from insn ${index} to ${target}`);
      }
    }
    if (index !== end - 1) continue;
    if (opcode !== EXIT && opcode !== GOTO && opcode !== GOTO_LONG) {
      throw env.reject("EINVAL", "last insn is not an exit or jmp");
    }
    start = end;
    current++;
    if (current < env.subprogramCount) end = (subprograms[current + 1] as Subprogram).start;
  }
}
