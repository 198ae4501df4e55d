/**
 * Stack of chains of calls (check_max_stack_depth): 512 bytes over all frames, each rounded up to 16. With tail calls below,
 * a chain may have used 256 at most, since every tail call keeps the stack of its callers.
 */
import type { Instruction } from "../isa/index.ts";
import type { Environment, Subprogram } from "./environment.ts";
import { kfuncNameOf } from "./kfuncs.ts";
import { isPseudoCall, isPseudoFunction } from "./kinds.ts";
import { MAX_BPF_STACK, MAX_CALL_FRAMES } from "./state.ts";
import { findSubprogram } from "./subprograms.ts";

const TAIL_CALL_LIMIT = 256;

/** Program types with a stack of their own for each function that is large enough (private stacks), where the JIT has them. */
const PRIVATE_STACK_TYPES: ReadonlySet<string> = new Set([
  "kprobe",
  "tracepoint",
  "perf_event",
  "raw_tracepoint",
]);

/** bpf_enable_priv_stack: of the types with a trampoline those whose programs cannot interrupt themselves, which iterators may. */
function hasPrivateStacks({ type, isExtension, program: { attachType } }: Environment): boolean {
  if (isExtension) return false;
  return PRIVATE_STACK_TYPES.has(type) || (type === "tracing" && attachType !== "trace_iter");
}

const PRIVATE_MINIMUM = 64;

function roundedDepth({ stackDepth }: Subprogram): number {
  return Math.ceil(stackDepth / 16) * 16;
}

export function checkStackDepth(env: Environment): void {
  const tailCalls = env.subprograms.some(({ hasTailCall }) => hasTailCall);
  const mayBePrivate = !tailCalls && hasPrivateStacks(env);
  const shared = new Set<number>();
  for (let number = env.subprogramCount - 1; number >= 0; number--) {
    const subprogram = env.subprograms[number] as Subprogram;
    if (number === 0 || subprogram.isAsyncCallback) {
      walk(env, number, number === 0 && mayBePrivate, shared);
    }
  }
}

/** Callbacks may not end the program: the kernel's code that called them would never go on. */
function refuseThrow(
  env: Environment,
  index: number,
  number: number,
  callers: readonly { readonly number: number }[],
): void {
  if (kfuncNameOf(env, env.instructions[index] as Instruction) !== "bpf_throw") return;
  const chain = [number, ...callers.map((caller) => caller.number)];
  if (!chain.some((one) => (env.subprograms[one] as Subprogram).isCallback)) return;
  throw env.reject(
    "EINVAL",
    `bpf_throw kfunc (insn ${index}) cannot be called from callback subprog ${number}`,
  );
}

/** All chains of calls from one function. */
function walk(env: Environment, root: number, privateStacks: boolean, shared: Set<number>): void {
  const callers: { index: number; number: number }[] = [];
  const owned = new Set<number>();
  let number = root;
  let index = (env.subprograms[root] as Subprogram).start;
  let depth = 0;
  let tailCallReachable = false;
  const enter = (): void => {
    const subprogram = env.subprograms[number] as Subprogram;
    if (!privateStacks) shared.add(number);
    if (number !== 0 && subprogram.hasTailCall && depth >= TAIL_CALL_LIMIT) {
      throw env.reject(
        "EACCES",
        `tail_calls are not allowed when call stack of previous frames is ${depth} bytes. Too large`,
      );
    }
    const own = roundedDepth(subprogram);
    if (privateStacks && !shared.has(number) && own >= PRIVATE_MINIMUM) owned.add(number);
    if (owned.has(number)) {
      if (own > MAX_BPF_STACK) {
        throw env.reject("EACCES", `stack size of subprog ${number} is ${own}. Too large`);
      }
      return;
    }
    depth += own;
    if (depth > MAX_BPF_STACK) {
      throw env.reject("EACCES", `combined stack size of ${callers.length + 1} calls is ${depth}. Too large`);
    }
  };
  enter();
  for (;;) {
    const { start: end } = env.subprograms[number + 1] as Subprogram;
    if (index < end) {
      const instruction = env.instructions[index] as Instruction;
      refuseThrow(env, index, number, callers);
      const call = isPseudoCall(instruction);
      if (!call && !isPseudoFunction(instruction)) {
        index++;
        continue;
      }
      const target = index + instruction.imm + 1;
      const callee = findSubprogram(env, target);
      const calleeInfo = env.subprograms[callee] as Subprogram;
      if (calleeInfo.isAsyncCallback && call && calleeInfo.isExceptionCallback) {
        // The kernel's message has no end of line.
        env.verbose(`insn ${index} cannot call exception cb directly`);
        throw env.reject("EINVAL");
      }
      if (calleeInfo.isAsyncCallback && !call) {
        index++;
        continue;
      }
      callers.push({ index: index + 1, number });
      number = callee;
      index = target;
      if (calleeInfo.hasTailCall) tailCallReachable = true;
      if (callers.length >= MAX_CALL_FRAMES) {
        throw env.reject("E2BIG", `the call stack of ${callers.length} frames is too deep !`);
      }
      enter();
      continue;
    }
    if (tailCallReachable) {
      for (const caller of callers) {
        (env.subprograms[caller.number] as Subprogram).tailCallReachable = true;
      }
    }
    const caller = callers.pop();
    if (caller === undefined) return;
    if (!owned.has(number)) depth -= roundedDepth(env.subprograms[number] as Subprogram);
    index = caller.index;
    number = caller.number;
  }
}
