/** Wide constants before the run: which map each `lddw` means; and opcodes that do not exist (resolve_pseudo_ldimm64). */
import { CLASSES, type Instruction, OPCODE_LDDW, ROWS_BY_OPCODE } from "../isa/index.ts";
import type { Environment, InstructionAux } from "./environment.ts";
import { kernelVariable } from "./kernel-types/variable.ts";
import type { VerifierMap } from "./input.ts";
import { checkMapUse } from "./map-use.ts";
import {
  PSEUDO_BTF_ID,
  PSEUDO_FUNC,
  PSEUDO_MAP_FD,
  PSEUDO_MAP_IDX,
  PSEUDO_MAP_IDX_VALUE,
  PSEUDO_MAP_VALUE,
} from "./kinds.ts";

const MAX_MAPS = 64;
const PAGE = 4096;
const MAX_VAR_OFF = 1 << 29;

/** Map types whose only value has an address of its own. */
const DIRECT_VALUE: ReadonlySet<string> = new Set(["array", "arena"]);

export function resolveConstants(env: Environment): void {
  const { instructions } = env;
  const used = new Set<VerifierMap>();
  for (let index = 0; index < instructions.length; index++) {
    const instruction = instructions[index] as Instruction;
    const { opcode, imm } = instruction;
    const mode = opcode & 0xe0;
    if ((opcode & 7) === CLASSES.ldx && ((mode !== 0x60 && mode !== 0x80) || imm !== 0)) {
      throw env.reject("EINVAL", "BPF_LDX uses reserved fields");
    }
    if (opcode === OPCODE_LDDW) {
      resolveOne(env, index, instruction, used);
      index++;
    } else if (!isKnown(opcode)) {
      throw env.reject("EINVAL", `unknown opcode ${opcode.toString(16).padStart(2, "0")}`);
    }
  }
}

function isKnown(opcode: number): boolean {
  return ROWS_BY_OPCODE[opcode]?.some(({ since }) => since !== "none") ?? false;
}

function resolveOne(
  env: Environment,
  index: number,
  { src, imm }: Instruction,
  used: Set<VerifierMap>,
): void {
  const second = env.instructions[index + 1];
  if (
    second === undefined ||
    second.opcode !== 0 ||
    second.dst !== 0 ||
    second.src !== 0 ||
    second.offset !== 0
  ) {
    throw env.reject("EINVAL", "invalid bpf_ld_imm64 insn");
  }
  if (src === 0 || src === PSEUDO_FUNC) return;
  if (src === PSEUDO_BTF_ID) {
    (env.aux[index] as InstructionAux).variable = kernelVariable(env, imm, second.imm);
    return;
  }
  const isValue = src === PSEUDO_MAP_VALUE || src === PSEUDO_MAP_IDX_VALUE;
  const isMap = (src === PSEUDO_MAP_FD || src === PSEUDO_MAP_IDX) && second.imm === 0;
  if (!isValue && !isMap) throw env.reject("EINVAL", "unrecognized bpf_ld_imm64 insn");
  const map = env.program.maps.get(index);
  if (map === undefined) {
    // Standard input and output are files, though no maps; what other descriptors are nobody knows.
    throw env.reject(imm >= 0 && imm <= 2 ? "EINVAL" : "EBADF", `fd ${imm} is not pointing to valid bpf_map`);
  }
  if (!used.has(map)) {
    if (used.size >= MAX_MAPS) {
      throw env.reject("E2BIG", `The total number of maps per program has reached the limit of ${MAX_MAPS}`);
    }
    checkMapUse(env, map);
    used.add(map);
  }
  const aux = env.aux[index];
  if (aux === undefined) return;
  aux.map = map;
  if (!isValue) return;
  const off = second.imm >>> 0;
  if (off >= MAX_VAR_OFF) throw env.reject("EINVAL", `direct value offset of ${off} is not allowed`);
  if (!DIRECT_VALUE.has(map.type)) {
    throw env.reject("EINVAL", "no direct value access support for this map type");
  }
  if (map.type !== "arena" && map.maxEntries !== 1) {
    env.verbose(`invalid access to map value pointer, value_size=${map.valueSize} off=${off}\n`);
    throw env.reject("ENOTSUPP");
  }
  if (off >= (map.type === "arena" ? map.maxEntries * PAGE : map.valueSize)) {
    env.verbose(`invalid access to map value pointer, value_size=${map.valueSize} off=${off}\n`);
    throw env.reject("EINVAL");
  }
  aux.mapOffset = off;
}
