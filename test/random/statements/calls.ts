import type { Argument, FunctionBuilder, Plan } from "../builder.ts";
import { NONE, SCALAR } from "../state.ts";
import { randomImm } from "../values.ts";
import { canCall } from "./maps.ts";

/** Frames of a call chain; Linux allows 8, and 512 bytes of stack for all of them together. */
export const MAX_DEPTH = 3;

/** Calls a function of the program: one that there is already, or a new one. */
export function callFunction(
  b: FunctionBuilder,
  create: (args: readonly Argument[], depth: number) => Plan,
): boolean {
  if (!canCall(b) || b.depth >= MAX_DEPTH) return false;
  const { random } = b;
  const known = b.program.plans.filter(
    (plan) => b.depth + plan.depth <= MAX_DEPTH && (b.keepPackets === 0 || !plan.movesPacket),
  );
  const hasContext = b.having(({ kind }) => kind === "ctx").length > 0;
  let plan: Plan | undefined;
  if (known.length > 0 && random.chance(0.6)) plan = random.pick(known);
  else if (b.program.plans.length < 4 && b.program.budget > 3 && b.loops.length === 0) {
    const args = Array.from({ length: random.between(0, 5) }, (_, index): Argument => {
      if (index === 0 && hasContext && random.chance(0.5)) return "ctx";
      return random.chance(0.2) ? { bytes: random.pick([8, 16, 24]) } : "scalar";
    });
    plan = create(args, b.depth + 1);
  }
  if (plan === undefined || (b.keepPackets > 0 && plan.movesPacket)) return false;
  if (!passArguments(b, plan.args)) return false;
  b.calls.push({ slot: b.emit("call_local"), plan: plan.index });
  b.now.clobber();
  b.set(0, SCALAR);
  if (plan.movesPacket) {
    b.movesPacket = true;
    b.now.forget(({ kind }) => kind === "packet" || kind === "end");
  }
  // What the function did to elements of maps is not followed.
  if (b.keepElements === 0) b.now.forget(({ kind }) => kind === "value");
  return true;
}

/** Puts arguments into r1 and up; the code that was written for a failed attempt does no harm. */
function passArguments(b: FunctionBuilder, args: readonly Argument[]): boolean {
  const done: number[] = [];
  for (const [index, arg] of args.entries()) {
    const reg = index + 1;
    if (arg === "ctx") {
      const ctx = b.context(done);
      if (ctx === undefined) return false;
      if (ctx !== reg) b.copy(reg, ctx);
    } else if (arg === "scalar") {
      const found = b.having(({ kind }) => kind === "scalar");
      if (found.length === 0 || b.random.chance(0.2)) b.constant(reg, randomImm(b.random));
      else {
        b.emit("mov64_reg", { dst: reg, src: b.random.pick(found) });
        b.set(reg, SCALAR);
      }
    } else {
      let place = b.writtenPlace(arg.bytes);
      if (place === undefined) {
        place = b.place(arg.bytes, 8);
        if (place === undefined) return false;
        b.fill(place, arg.bytes);
      }
      if (b.touchesLocked(place, arg.bytes)) return false;
      b.emit("mov64_reg", { dst: reg, src: 10 });
      b.emit("add64_imm", { dst: reg, imm: place });
      b.set(reg, NONE);
    }
    done.push(reg);
  }
  return true;
}
