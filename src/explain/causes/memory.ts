/** Contexts, the stack, alignment, what was never written, what may only be read. */
import { type Case, type Cause, inLine, placeOfEvent } from "../case.ts";
import { accessSize } from "../effects.ts";
import { locationName, valueAt, register } from "../location.ts";
import { type ContextField, hookOf } from "../../hooks/index.ts";
import { placeOf } from "../place.ts";
import { rangeWords, valueWords } from "../words.ts";

export function contextAccess(one: Case): Cause {
  const { complaint, step, path, place } = one;
  const { groups, rule } = complaint;
  const type = path.program.type;
  const verb =
    step !== undefined && ((step.instruction.opcode & 7) === 2 || (step.instruction.opcode & 7) === 3)
      ? "written"
      : "read";
  switch (rule?.cause) {
    case "modified":
      if (step?.instruction.opcode === 0x85) {
        return {
          cause: `The context pointer that is passed${place === undefined ? "" : ` ${inLine(place)}`} was moved: the function takes the pointer as the program got it.`,
          missing: "pass the context itself",
          code: "bpf_skb_load_bytes(skb, offset, &byte, 1);   /* offsets are arguments of their own */",
          where: place,
        };
      }
      return {
        cause: `The context pointer was moved before the access${place === undefined ? "" : ` ${inLine(place)}`}: fields are accessed through the pointer as it was given, with constant offsets.`,
        missing:
          "access the field through ctx itself; when the compiler moves the pointer (ctx + offset kept in a register), keep it from doing so",
        code: "__u32 mark = ctx->mark;     /* not *(__u32 *)((void *)ctx + off) */",
        where: place,
        ...artefactOfContext(one),
      };
    case "variable":
      return {
        cause: `The offset in the context is not a constant (${one.value === undefined ? "unknown" : rangeWords(one.value)}): which field is meant must be known when the program is loaded.`,
        missing:
          "name the field: a switch over the cases, or an unrolled loop, instead of an index into the context",
        code: "switch (i) {\ncase 0: v = ctx->cb[0]; break;\ncase 1: v = ctx->cb[1]; break;\n}",
        where: place,
      };
    case "argument":
      return {
        cause: "The program reads more arguments than the kernel function it is attached to has.",
        missing: "the arguments that the function has: see its prototype in the kernel's BTF",
        code: "",
        where: place,
      };
    default: {
      const at = Number(groups["at"] ?? 0);
      const size = Number(groups["size"] ?? 0);
      const field = hookOf(type).context.fields.find(
        (row) => row.offset <= at && at < row.offset + row.size * (row.count ?? 1),
      );
      return {
        cause: fieldCause(type, path.program.attachType, at, size, verb, field),
        missing:
          field === undefined
            ? "a field that this context has: see `skep types " + type + "`"
            : verb === "written"
              ? "do not write this field; see `skep types " + type + "` for those that may be written"
              : whole(field, at, size)
                ? "another field: see `skep types " +
                  type +
                  "` for those that may be read where the program is attached"
                : "read the field with its own size, at its own offset",
        code:
          field === undefined || verb === "written" || whole(field, at, size)
            ? ""
            : `__u${field.size * 8} v = ctx->${field.name};`,
        where: place,
      };
    }
  }
}

/** The access is that of the field: its size and place are right, the field is not for this program. */
function whole(field: ContextField, at: number, size: number): boolean {
  return size === field.size && (at - field.offset) % field.size === 0;
}

function fieldCause(
  type: string,
  attach: string | undefined,
  at: number,
  size: number,
  verb: string,
  field: ContextField | undefined,
): string {
  const bytes = `${size} byte${size === 1 ? "" : "s"} at offset ${at}`;
  if (field === undefined)
    return `The context of ${type} programs has no field at offset ${at} (${bytes} ${verb}).`;
  if (verb === "written" && field.write === undefined)
    return `The field '${field.name}' may not be written by ${type} programs (${bytes} written).`;
  if (verb === "read" && field.read === undefined)
    return `The field '${field.name}' may not be read by ${type} programs (${bytes} read).`;
  if (whole(field, at, size)) {
    return `The field '${field.name}' may not be ${verb} by ${type} programs${attach === undefined ? "" : ` that are attached to ${attach}`}: it belongs to others of the type.`;
  }
  return `The field '${field.name}' (${field.size} bytes at offset ${field.offset}) may not be ${verb} like this: ${bytes}.`;
}

/** Offsets that the source does not have: the compiler computed the address of a field. */
function artefactOfContext({ place }: Case): Pick<Cause, "artefact"> | Record<string, never> {
  return place !== undefined &&
    /(->|\.)\w+/.test(place.text) &&
    !/\(\s*(void|char|__u\d+|unsigned char)\s*\*\s*\)\s*ctx/.test(place.text)
    ? { artefact: "the source names a field of the context, the compiler moved the pointer to it first" }
    : {};
}

export function stackBounds(one: Case): Cause {
  const { complaint, place, value, path, step } = one;
  const { groups, rule } = complaint;
  switch (rule?.cause) {
    case "combined": {
      const deepest = deepestFunction(one);
      const bytes = Number(groups["bytes"] ?? 0);
      const frames = Number(groups["frames"] ?? 1);
      return {
        cause:
          frames > 1
            ? `${frames} functions that call each other need ${bytes} bytes of stack together, and 512 is all there is${deepest === undefined ? "" : `; ${deepest.function}() needs most of it`}.`
            : `One function needs ${bytes} bytes of stack, and 512 is all there is.`,
        missing:
          "move large local variables into a per-CPU array map of one element, or lower the depth of calls",
        code: 'struct {\n    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);\n    __uint(max_entries, 1);\n    __type(key, __u32);\n    __type(value, struct scratch);\n} scratch SEC(".maps");',
        place: deepest,
        where: deepest,
      };
    }
    case "calls":
      return {
        cause:
          place !== undefined && place.text.includes(`${place.function}(`)
            ? `${place.function}() calls itself ${inLine(place)}: recursion is never allowed, and after 8 calls the verifier gives up.`
            : `More than 8 functions call each other at once${place === undefined ? "" : ` ${inLine(place)}`}; recursion is never allowed.`,
        missing: "fewer levels: inline functions (__always_inline), or a loop instead of recursion",
        code: "static __always_inline int step(...) { ... }",
        where: place,
      };
    case "tail_call": {
      const call = callOfTailCaller(one);
      return {
        place: call,
        cause: `A function that makes a tail call may be called only while its callers use less than 256 bytes of stack; they use ${groups["bytes"] ?? "more"}.`,
        missing:
          "less stack in the callers of the function with the tail call: large variables in a per-CPU array map, or the tail call in the program itself",
        code: 'struct {\n    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);\n    __uint(max_entries, 1);\n    __type(key, __u32);\n    __type(value, struct scratch);\n} scratch SEC(".maps");',
        where: call,
      };
    }
    case "returned":
      return {
        cause: "The function returns a pointer into its own stack, which is gone when it returns.",
        missing: "a buffer that the caller owns, handed in as an argument",
        code: "static int fill(struct event *e) { ... }   /* the caller has the struct */",
        where: place,
      };
    case "escaped":
      return {
        cause:
          "A pointer to this function's stack is stored in its caller's stack, where it would outlive the function.",
        missing: "return the value instead of its address, or let the caller own the buffer",
        code: "",
        where: place,
      };
    case "frame_pointer":
      return {
        cause: "R10, the frame pointer, is written; it may only be read.",
        missing: "another register",
        code: "r1 = r10\nr1 += -16",
        where: place,
      };
    case "math":
      return {
        cause: `The stack pointer is moved by a number that is not known well enough${one.value === undefined ? "" : ` (${rangeWords(one.value)})`}, or in a way that is not allowed.`,
        missing: "an index with bounds: unsigned, and compared with the size of the array",
        code: "if (i >= sizeof(buf))\n    return 0;\nbuf[i] = 1;",
        where: place,
      };
    case "variable": {
      const range = value === undefined ? "unknown" : rangeWords(value);
      return {
        cause: `The position on the stack varies (${range} from fp), and not every possible position lies inside of the 512 bytes of the stack, or may be used so.`,
        missing:
          "bounds for the index before the access: compare it with the size of the array, as an unsigned number",
        code: "if (i >= sizeof(buf))\n    return 0;\nbuf[i] = 1;",
        where: place,
      };
    }
    default: {
      const offset = Number(groups["off"] ?? 0);
      const size = Number(groups["size"] ?? accessSize(step?.instruction.opcode ?? 0x18));
      const above = offset >= 0 || offset + size > 0;
      return {
        cause: above
          ? `${size} bytes at fp${offset >= 0 ? `+${offset}` : offset} reach beyond the top of the stack frame: a function's variables lie below fp, from fp-1 to fp-512.`
          : `${size} bytes at fp${offset} lie below the 512 bytes of stack that a function has.`,
        missing: above
          ? "an index or length that stays inside of the array: check the size that is passed, and the loop's bound"
          : "less stack: move large variables into a per-CPU array map of one element",
        code: "",
        where: place ?? placeOf(path.program, 0),
      };
    }
  }
}

/** The first instruction of the function with the largest stack. */
/** The call, by the function with the largest stack, of a function that makes a tail call. */
function callOfTailCaller(one: Case): ReturnType<typeof placeOf> | undefined {
  const { instructions, functionInfo = [] } = one.path.program;
  const starts = functionInfo.map(({ slot }) => slot);
  const functionOf = (slot: number): number => starts.findLastIndex((start) => start <= slot);
  const jumping = new Set<number>();
  for (const [slot, { opcode, src, imm }] of instructions.entries())
    if (opcode === 0x85 && src === 0 && imm === 12) jumping.add(functionOf(slot));
  const depths = one.path.result.statistics.stackDepths;
  let best: { slot: number; depth: number } | undefined;
  for (const [slot, { opcode, src, imm }] of instructions.entries()) {
    if (opcode !== 0x85 || src !== 1 || !jumping.has(functionOf(slot + imm + 1))) continue;
    const depth = depths[functionOf(slot)] ?? 0;
    if (best === undefined || depth > best.depth) best = { slot, depth };
  }
  return best === undefined ? undefined : placeOf(one.path.program, best.slot);
}

function deepestFunction({ path }: Case): ReturnType<typeof placeOf> | undefined {
  const { functionInfo = [] } = path.program;
  const depths = path.result.statistics.stackDepths;
  let deepest = 0;
  for (const [index, depth] of depths.entries()) if (depth > (depths[deepest] ?? 0)) deepest = index;
  return placeOf(path.program, functionInfo[deepest]?.slot ?? 0);
}

export function misaligned(one: Case): Cause {
  const { complaint, step, value, place } = one;
  const size =
    /size (\d+)/.exec(complaint.message)?.[1] ?? String(accessSize(step?.instruction.opcode ?? 0x18));
  const what = (complaint.groups["what"] ?? "memory").trim();
  const atomic =
    step !== undefined && (step.instruction.opcode & 0xe0) === 0xc0 && (step.instruction.opcode & 7) === 3;
  const why =
    what === "stack"
      ? "Stack accesses must be aligned to their size"
      : atomic
        ? "Atomic instructions need addresses that are a multiple of their size"
        : "With strict alignment (BPF_F_STRICT_ALIGNMENT, or a machine without unaligned accesses) addresses must be a multiple of the access's size";
  return {
    cause: `${why}: here ${size} bytes of ${what === "value" ? "a map value" : what} are accessed at an address that is not a multiple of ${size}${value === undefined ? "" : ` (${valueWords(value)})`}.`,
    missing: `members at offsets that are multiples of their size (no __attribute__((packed)) around them), or an access byte by byte`,
    code: "struct value {\n    __u64 counter;           /* 8-byte members first */\n    __u32 flags;\n};",
    where: place,
  };
}

export function uninitialised(one: Case): Cause {
  const { complaint, subject, origin, place, step } = one;
  const { rule, groups } = complaint;
  if (rule?.cause === "register") {
    const event = origin.findLast(({ kind }) => kind === "clobbered" || kind === "entry");
    const name = subject === undefined ? "The register" : locationName(subject);
    const exit = step?.instruction.opcode === 0x95;
    if (event?.kind === "clobbered") {
      const line = placeOfEvent(one, event);
      return {
        cause: `${name} does not survive ${event.callee ?? "a call"}${event.callee?.startsWith("bpf_") === true ? "()" : ""} ${inLine(line)}: calls leave R1 to R5 unreadable.`,
        missing: "keep what is needed after a call in R6 to R9 or on the stack, or set the register again",
        code: "r6 = r1\ncall bpf_get_prandom_u32\nr1 = r6",
        where: line,
      };
    }
    return {
      cause: exit
        ? "The function ends on this path without having set its return value (R0): a path without return."
        : `${name} is read, but on this path nothing was ever written to it.`,
      missing: exit
        ? "a return statement on every path"
        : "a value for the variable on every path: initialise it where it is declared",
      code: exit ? "return 0;" : "__u64 key = 0;",
      where: place,
    };
  }
  const stack = /off (-?\d+)\+(\d+) size (\d+)/.exec(complaint.message);
  const offset = Number(stack?.[1] ?? groups["off"] ?? 0);
  const byte = Number(stack?.[2] ?? 0);
  const size = Number(stack?.[3] ?? 0);
  const helper = rule?.cause === "helper_stack";
  const reg =
    subject ??
    (step === undefined ? undefined : register(step.state.frames.length - 1, step.instruction.src));
  const value = step === undefined || reg === undefined ? undefined : valueAt(step.state, reg);
  return {
    cause:
      stack === null
        ? `Stack is read that may never have been written${value === undefined ? "" : ` (${valueWords(value)})`}.`
        : helper
          ? `The call reads ${size} bytes of stack from fp${offset} on, and byte ${byte} of them (fp${offset + byte}) was never written on this path: ${byte % 8 === 0 ? "the variable, or a member of it, is not initialised" : "usually padding between members, or the end of an array"}.`
          : `${size} bytes at fp${offset} are read, and byte ${byte} of them was never written on this path.`,
    missing: "fill the whole variable before it is used, padding included",
    code: "struct key k = {};           /* also: __builtin_memset(&k, 0, sizeof(k)); */",
    where: place,
  };
}

export function readOnly(one: Case): Cause {
  const { complaint, subject, value, place, path } = one;
  const name = subject === undefined ? "The pointer" : locationName(subject);
  switch (complaint.rule?.cause) {
    case "packet":
      return {
        cause: `Programs of type ${path.program.type} may read the packet, not write it.`,
        missing:
          "a helper that changes packets, in a program type that may: bpf_skb_store_bytes() in tc programs",
        code: "bpf_skb_store_bytes(skb, off, &byte, sizeof(byte), 0);",
        where: place,
      };
    case "map":
    case "map_read":
      return {
        cause: `The map's flags (BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG) forbid programs what is done ${place === undefined ? "here" : inLine(place)}. The sections .rodata and .kconfig are such maps.`,
        missing: "a variable that is not const, or a map without the flag",
        code: "volatile __u32 seen;         /* .bss: may be written */",
        where: place,
      };
    default: {
      const slice = one.origin.find(({ callee }) => callee === "bpf_dynptr_slice");
      return {
        cause:
          `${name} holds ${valueWords(value)}, which may only be read.` +
          (slice === undefined
            ? ""
            : ` bpf_dynptr_slice() ${inLine(placeOfEvent(one, slice))} lends it for reading.`),
        missing:
          slice === undefined
            ? "a copy in a local variable, and a write to that"
            : "bpf_dynptr_slice_rdwr(), and bpf_dynptr_write() afterwards if it handed out the buffer; or bpf_dynptr_write() alone",
        code:
          slice === undefined
            ? ""
            : "p = bpf_dynptr_slice_rdwr(&ptr, off, buf, sizeof(buf));\nif (!p)\n    return 0;\np->field = value;\nif (p == (void *)buf)\n    bpf_dynptr_write(&ptr, off, buf, sizeof(buf), 0);",
        where: place,
      };
    }
  }
}
