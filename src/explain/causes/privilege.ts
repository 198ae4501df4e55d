/** What is refused to processes that lack a capability: addresses that become known, what wrong guesses reach, loops, functions, helpers. */
import { type Instruction, OPCODE_LDDW } from "../../isa/index.ts";
import { type Case, type Cause, inLine } from "../case.ts";
import { locationName } from "../location.ts";
import { type Place, placeOf } from "../place.ts";
import { valueWords } from "../words.ts";

const TRUSTED = "or load the program with CAP_PERFMON";

function nameAndValue({ subject, value }: Case): string {
  const name = subject === undefined ? "The register" : locationName(subject);
  return `${name}, which holds ${valueWords(value)},`;
}

export function pointerLeak(one: Case): Cause {
  const { complaint, place } = one;
  const line = place === undefined ? "" : ` ${inLine(place)}`;
  const who = "A process without CAP_PERFMON must not learn addresses of the kernel";
  const common = { where: place, code: "" };
  switch (complaint.rule?.cause) {
    case "store":
      return {
        ...common,
        cause: `${who}. ${nameAndValue(one)} is stored${line} where others can read it.`,
        missing: `store a number that identifies the object (an id, a key, an index), ${TRUSTED}`,
        code: "value->id = key;              /* not (__u64)pointer */",
      };
    case "helper":
      return {
        ...common,
        cause: `${who}. ${nameAndValue(one)} is passed${line} to a function that takes a number there.`,
        missing: `a number as this argument, ${TRUSTED}`,
      };
    case "comparison":
      return {
        ...common,
        cause: `${who}. ${nameAndValue(one)} is compared${line}: how addresses lie to each other tells something of them. Only comparisons with NULL and of packet pointers with the end of the packet are allowed.`,
        missing: `compare what identifies the objects instead (their keys, a field), ${TRUSTED}`,
        code: "if (key == other_key)          /* not first == second */",
      };
    case "return":
      return {
        ...common,
        cause: `${who}. ${nameAndValue(one)} is returned${line}.`,
        missing: `a number as return value, ${TRUSTED}`,
        code: "return pointer ? 1 : 0;",
      };
    case "stack":
      return {
        ...common,
        cause: `${who}. A pointer that lies on the stack is used${line} as a number, or a part of it is overwritten.`,
        missing: `whole stores and loads of pointers (eight bytes), and memory of its own for numbers, ${TRUSTED}`,
      };
    default:
      return {
        ...common,
        cause: `${who}. ${nameAndValue(one)} is computed with${line} as if it were a number.`,
        missing: `arithmetic on offsets, which are added to the pointer last, ${TRUSTED}`,
        code: "void *q = p + offset;",
      };
  }
}

export function speculation(one: Case): Cause {
  const { complaint, place } = one;
  const line = place === undefined ? "" : ` ${inLine(place)}`;
  const why =
    "A processor may guess a comparison wrong and go on for a while with numbers that no check has let pass. For processes without CAP_PERFMON, Linux masks what is added to a pointer, so that even then it stays inside of its object";
  const common = { where: place, code: "" };
  switch (complaint.rule?.cause) {
    case "sign":
      return {
        ...common,
        cause: `${why}. The mask works in one direction, and what is added${line} may be negative or not.`,
        missing: `a number that is never negative (an unsigned type, a comparison with 0), ${TRUSTED}`,
        code: "if (at < 0)\n    return 0;",
      };
    case "type":
      return {
        ...common,
        cause: `${why}. That is done for pointers into map values and the stack only, and another kind of pointer is moved${line} by a register.`,
        missing: `a constant distance, or the data copied into a map value first, ${TRUSTED}`,
      };
    case "paths":
      return {
        ...common,
        cause: `${why}. One mask must do for all paths to the instruction${line}, and they differ: in the map, in what is known of the number, or in whether it is a pointer that is added to.`,
        missing: `the same bound on every path: check or mask the number once, right before it is used, ${TRUSTED}`,
        code: "at &= 15;                      /* behind all branches */",
      };
    case "limit":
      return {
        ...common,
        cause: `${why}. The pointer leaves its object${line}, though nothing is read there.`,
        missing: `pointers that stay inside of the value at every step: count with indices instead of an end pointer, ${TRUSTED}`,
        code: "for (i = 0; i < n; i++)        /* not p < end */",
      };
    case "stack":
      return {
        ...common,
        cause: `${why}. Of the stack only constant offsets are allowed, and${line} the offset is not known.`,
        missing: `an array in a map value (a per-CPU array of one element) instead of one on the stack, ${TRUSTED}`,
      };
    default:
      return {
        ...common,
        cause: `${why}. Here it cannot${line}.`,
        missing: `one map, and one bound, on all paths, ${TRUSTED}`,
      };
  }
}

/** BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL; the address of a function (BPF_PSEUDO_FUNC). */
function namesFunction({ opcode, src }: Instruction): boolean {
  return opcode === 0x85 ? src !== 0 : opcode === OPCODE_LDDW && src === 4;
}

/** The first call of a function of the program, or address of one. */
function firstCall({ path }: Case): Place | undefined {
  const { program } = path;
  const slot = program.instructions.findIndex(namesFunction);
  return slot < 0 ? undefined : placeOf(program, slot);
}

export function capability(one: Case): Cause {
  const { complaint, place, path } = one;
  const { rule, groups } = complaint;
  switch (rule?.cause) {
    case "function": {
      const at = firstCall(one) ?? place;
      return {
        cause: `Functions of the program${at === undefined ? "" : ` (called ${inLine(at)})`} and kernel functions are for processes with CAP_BPF.`,
        missing: "the function inlined, or CAP_BPF",
        code: "static __always_inline int f(...)",
        place: at,
        where: at,
      };
    }
    case "loop": {
      const at = groups["insn"] === undefined ? place : placeOf(path.program, Number(groups["insn"]));
      return {
        cause: `The loop${at === undefined ? "" : ` ${inLine(at)}`} jumps back, and loops are for processes with CAP_BPF.`,
        missing: "the loop unrolled, or CAP_BPF",
        code: "#pragma unroll",
        place: at,
        where: at,
      };
    }
    case "type":
      return {
        cause: `The process may not load this program: ${complaint.message}.`,
        missing: groups["needed"] ?? "the capabilities named",
        code: "",
      };
    case "arena":
    case "struct":
      return {
        cause: `${rule.cause === "arena" ? "Arenas are" : `struct ${groups["struct"] ?? ""} is the kernel's and holds addresses: reading it is`} for processes with CAP_PERFMON.`,
        missing: "CAP_PERFMON",
        code: "",
        where: place,
      };
    default:
      return {
        cause: `The process lacks a capability${place === undefined ? "" : ` ${inLine(place)}`}.`,
        missing: "the capability named in the message",
        code: "",
        where: place,
      };
  }
}
