import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { helperId } from "../../src/uapi/index.ts";

/** Assembly in which helpers are called by name. */
export const code = (text: string): readonly Instruction[] =>
  assemble(text.replace(/call bpf_(\w+)/g, (_, name: string) => `call ${helperId(name)}`)).instructions;
