/**
 * The function that runs a program many times, for a caller that would do nothing else between two runs. It has the type of all
 * others: r1 and r2 as the program gets them, in r3 how often (at least once), in r4 the fuel of each run. From one module to
 * another a call through the table takes 4 ns, which is more than a short program does; inside a module it takes one.
 *
 * Before each run it leaves the execution state as `beginAgain` of the core does. What that does after tail calls is not done here:
 * programs that make them have no such function.
 */
import { EXEC_REDIRECT, EXEC_REDIRECT_MAP, EXEC_RUN } from "../core/layout.ts";
import type { Linkage } from "./calls.ts";
import { type ByteWriter, TYPE_I64 } from "./wasm.ts";

const COUNT = 2;
const FUEL = 3;
const FRAME = 5;
const RESULT = 6;

/** The body: one local, then code. `main` is the index of the program's main function. */
export function writeRepeat(code: ByteWriter, link: Linkage, main: number): void {
  code.unsigned(1);
  code.unsigned(1);
  code.byte(TYPE_I64);
  code.open("loop");
  code.opIndex("global.get", link.execGlobal);
  code.opIndex("global.get", link.execGlobal);
  code.memory("i32.load", 2, EXEC_RUN);
  code.i32Const(1);
  code.op("i32.add");
  code.memory("i32.store", 2, EXEC_RUN);
  code.opIndex("global.get", link.execGlobal);
  code.i64Const(0, 0);
  code.memory("i64.store", 3, EXEC_REDIRECT);
  code.opIndex("global.get", link.execGlobal);
  code.i32Const(0);
  code.memory("i32.store", 2, EXEC_REDIRECT_MAP);
  if (link.fuel) {
    code.opIndex("local.get", FUEL);
    code.opIndex("global.set", link.fuelGlobal);
  }
  code.opIndex("local.get", 0);
  code.opIndex("local.get", 1);
  for (let register = 3; register <= 5; register++) code.i64Const(0, 0);
  code.opIndex("local.get", FRAME);
  code.opIndex("call", main);
  code.opIndex("local.set", RESULT);
  code.opIndex("local.get", COUNT);
  code.i64Const(1, 0);
  code.op("i64.sub");
  code.opIndex("local.tee", COUNT);
  code.i64Const(0, 0);
  code.op("i64.ne");
  code.opIndex("br_if", 0);
  code.op("end");
  code.opIndex("local.get", RESULT);
  code.op("end");
}
