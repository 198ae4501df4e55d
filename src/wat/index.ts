/** WebAssembly modules as text. */
import { readModule } from "./module.ts";
import { printModule } from "./print.ts";

export { OPERATIONS, type Operation, type Shape } from "./table.ts";

/**
 * The text of a WebAssembly module, one instruction a line, which wat2wasm turns back into the same module. Functions,
 * locals and labels are called by the names in the name section; where there is none, by those of imports and exports.
 * Damaged bytes give a BpfError of code "usage", features outside the table of instructions one of code "unsupported".
 *
 * @example
 * import { toWat } from "skep/wat";
 *
 * const empty = new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
 * toWat(empty); // "(module\n)\n"
 */
export function toWat(bytes: Uint8Array): string {
  return printModule(readModule(bytes), bytes.length);
}
