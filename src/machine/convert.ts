/**
 * Accesses to a context that the kernel makes others of, because its own fields are not laid out so (convert_ctx_accesses). Here contexts
 * are what the uapi header says, and two things are left to do.
 *
 * A load that is narrower than a field but not than the kernel's own field gives all of it, wherever in the field it is: `*(u8 *)` at
 * byte 3 of pkt_type is pkt_type. It becomes a load of the whole field; one that extends the sign, of the field's first bytes.
 *
 * Of tc_index and its kin the kernel keeps 16 bits, and what a program reads there afterwards is what was kept. A store becomes one of
 * 16 bits: the upper half is always zero. A queue that is none is not stored: a constant from 65535 on, compared as a signed number, or a register,
 * compared with all its 64 bits, for which a jump around the store is put before it.
 */
import { type ContextField, hookOf } from "../hooks/index.ts";
import type { Instruction } from "../isa/index.ts";
import { contextAccessesOf } from "./context-pointers.ts";
import type { ProgramImage } from "./image.ts";
import { insertBefore } from "./insert.ts";

// RFC 9669, sections 3 and 5.
const CLASS = { LDX: 1, ST: 2, STX: 3 } as const;
const CLASS_MASK = 7;
const SIZE_MASK = 0x18;
const MODE_MASK = 0xe0;
const MEMSX = 0x80;
const BYTES: Readonly<Record<number, number>> = { 0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8 };
const SIZES: Readonly<Record<number, number>> = { 4: 0x00, 2: 0x08, 8: 0x18 };
/** `goto +0`. */
const NOTHING: Instruction = { opcode: 0x05, dst: 0, src: 0, offset: 0, imm: 0 };
/** net/sock.h: a queue that is none. The kernel does not store it. */
const NO_QUEUE_MAPPING = 0xffff;
const QUEUE = "queue_mapping";
/** `if rN >= imm goto +1`. */
const JUMP_OVER = 0x35;

/**
 * The same program; `proved` are the slots of its loads and stores through the context pointer, as a verifier has seen them. Without a proof they
 * are found as far as that is certain.
 */
export function convertContextAccesses(
  image: ProgramImage,
  proved: readonly number[] | undefined,
): ProgramImage {
  if (image.type === undefined) return image;
  const { fields } = hookOf(image.type).context;
  if (fields.every(({ kept, bits }) => kept === undefined && bits === undefined)) return image;
  const accesses = proved ?? contextAccessesOf(image);
  let instructions: Instruction[] | undefined;
  const guards = new Map<number, Instruction>();
  for (const slot of accesses) {
    const instruction = image.instructions[slot] as Instruction;
    const field = fields.find(({ offset, size, count = 1 }) => {
      const at = instruction.offset - offset;
      return at >= 0 && at < size * count;
    });
    if (field === undefined) continue;
    const kind = instruction.opcode & CLASS_MASK;
    const converted = kind === CLASS.LDX ? convertLoad(instruction, field) : convertStore(instruction, field);
    if (field.name === QUEUE && kind === CLASS.STX) guards.set(slot, guardOf(instruction));
    if (converted === instruction) continue;
    instructions ??= [...image.instructions];
    instructions[slot] = converted;
  }
  return insertBefore(instructions === undefined ? image : { ...image, instructions }, guards);
}

function guardOf({ src }: Instruction): Instruction {
  return { opcode: JUMP_OVER, dst: src, src: 0, offset: 1, imm: NO_QUEUE_MAPPING };
}

function convertLoad(load: Instruction, { offset, size, kept }: ContextField): Instruction {
  const bytes = BYTES[load.opcode & SIZE_MASK] as number;
  if (kept === undefined || bytes >= size || bytes < kept) return load;
  const opcode =
    (load.opcode & MODE_MASK) === MEMSX ? load.opcode : (load.opcode & ~SIZE_MASK) | (SIZES[size] as number);
  return { ...load, opcode, offset };
}

function convertStore(store: Instruction, { name, bits }: ContextField): Instruction {
  if (bits !== 16) return store;
  const constant = (store.opcode & CLASS_MASK) === CLASS.ST;
  if (name === QUEUE && constant && store.imm >= NO_QUEUE_MAPPING) return NOTHING;
  return { ...store, opcode: (store.opcode & ~SIZE_MASK) | (SIZES[2] as number) };
}
