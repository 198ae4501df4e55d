/** Values of device and CPU maps: an interface or the size of a queue, and perhaps the program that packets meet there. */
import { NO_PROGRAM, PROG_ID } from "../../core/layout.ts";
import type { MapHost, ProgramHandle } from "./definition.ts";

/** The value of an entry, 4 or 8 bytes, with a program's id in the place of its descriptor. */
export function targetValue(
  { memory }: MapHost,
  size: number,
  target: number,
  program?: ProgramHandle,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(size));
  view.setUint32(0, target, true);
  if (program !== undefined) view.setUint32(4, memory.u32(program.descriptor + PROG_ID), true);
  return new Uint8Array(view.buffer);
}

/** The same value for the core, to which a program is the address of its descriptor. Ids below 1 are none, as descriptors of bpf(2). */
export function targetForCore({ programOf }: MapHost, value: Uint8Array): Uint8Array {
  if (value.length !== 8) return value;
  const bytes = value.slice();
  const view = new DataView(bytes.buffer);
  const id = view.getInt32(4, true);
  view.setUint32(4, id < 1 ? 0 : (programOf(id)?.descriptor ?? NO_PROGRAM), true);
  return bytes;
}
