/** Pointers that may be NULL, that have become numbers, or whose object is gone. */
import {
  type Case,
  type Cause,
  argumentText,
  assignedIn,
  chainIn,
  giveUp,
  inLine,
  otherCheckOf,
  placeOfEvent,
  pointerIn,
} from "../case.ts";
import { helperName } from "../../uapi/index.ts";
import { helperOf, isCall } from "../effects.ts";
import { type Location, locationName, valueAt } from "../location.ts";
import { kfuncName } from "../instructions.ts";
import type { OriginEvent } from "../origin.ts";
import type { PathStep } from "../path.ts";
import { placeOf } from "../place.ts";
import { valueWords } from "../words.ts";
import { packetInvalidated } from "./packet.ts";

const MOVES: ReadonlySet<string> = new Set(["move", "spill", "fill", "argument", "returned"]);

/** The events of the value itself, newest first: through moves and spills, and the first operand of arithmetic. */
function lineage(one: Case): OriginEvent[] {
  return one.origin.toReversed();
}

export function nullCheck(one: Case): Cause {
  const { value, subject, origin, place } = one;
  const name = subject === undefined ? "The pointer" : locationName(subject);
  const made = origin.findLast(({ kind }) => kind === "call_result");
  const at = made === undefined ? undefined : placeOfEvent(one, made);
  const call = one.step !== undefined && isCall(one.step);
  const passed = call
    ? argumentText(place, subject?.kind === "register" ? subject.regno : 0)
    : made === undefined && origin.some(({ kind }) => kind === "load")
      ? chainIn(place)
      : undefined;
  const fresh = at === undefined && passed !== undefined && !/^\w+$/.test(passed);
  const variable = at !== undefined ? assignedIn(at, "p") : fresh ? "p" : (passed ?? pointerIn(place) ?? "p");
  const argument = one.complaint.rule?.cause === "argument";
  const use = argument
    ? "is passed on"
    : one.complaint.rule?.cause === "arithmetic"
      ? "is computed with"
      : "is used";
  const copy = nullCheckElsewhere(one);
  // A global function is verified for every caller that there could be.
  const given = !call && origin.length > 0 && origin.every(({ kind }) => kind === "entry" || MOVES.has(kind));
  return {
    cause:
      `${name} holds ${valueWords(value)}, and it ${use} without a test for NULL on this path.` +
      (at === undefined
        ? ""
        : ` ${made?.callee ?? "The call"}() ${inLine(at)} returned it, and returns NULL when there is none.`) +
      (copy === undefined
        ? ""
        : ` The program tests another copy (${locationName(copy.register)}) ${inLine(copy.place)}: that result came from another call.`),
    missing: `a test for NULL ${at === undefined ? "" : `between ${inLine(at).replace("in ", "")} and `}${place === undefined || place.line === 0 ? "before the access" : at === undefined ? `before line ${place.line}` : `line ${place.line}`}`,
    code:
      `${fresh ? `${value?.type.startsWith("sock") === true ? "struct bpf_sock" : "void"} *p = ${passed};\n` : ""}if (!${variable})\n    ${giveUp(one)}` +
      (given
        ? `\n/* or, if no caller passes NULL: ${place?.function ?? "f"}(... *${variable} __arg_nonnull) */`
        : ""),
    where: at ?? place,
  };
}

/** A comparison with zero of a result of another call. */
function nullCheckElsewhere(
  one: Case,
): { place: ReturnType<typeof placeOf>; register: Location } | undefined {
  const other = otherCheckOf(one, one.origin);
  return other === undefined ? undefined : { place: other.place, register: other.register };
}

/** A load or store through a number, or a number where a pointer is expected: what it was before decides. */
export function notAPointer(one: Case): Cause {
  const { value, subject, path, place } = one;
  const name = subject === undefined ? "The register" : locationName(subject);
  const events = lineage(one);
  for (const event of events) {
    const step = path.steps[event.step];
    const line = placeOfEvent(one, event);
    if (event.kind === "invalidated" && event.before?.pointer === true) {
      if (event.before.type.startsWith("pkt")) return packetInvalidated(one, event);
      return released(one, event);
    }
    if (event.kind === "check" && event.before?.nullable === true) return nullBranch(one, event);
    const source = step === undefined ? undefined : event.from.map((from) => valueAt(step.state, from));
    const pointer = source?.find((from) => from?.pointer === true);
    if (pointer !== undefined && value?.pointer !== true && !MOVES.has(event.kind)) {
      if (event.kind === "truncate" || event.kind === "arithmetic32") return lost(one, event, "arithmetic32");
      if (event.kind === "partial_fill") return lost(one, event, "fill");
      if (event.kind === "arithmetic")
        return lost(
          one,
          event,
          source?.every((from) => from?.pointer === true) === true ? "difference" : "operator",
        );
    }
    if (event.kind === "partial_fill" || (event.kind === "partial" && event.before?.pointer === true)) {
      return lost(one, event, "fill");
    }
    if (event.kind === "load" || event.kind === "atomic") {
      return {
        cause:
          `${name} was loaded ${inLine(line)} from memory, and to the verifier it is a number: memory does not keep what kind of pointer ` +
          "was stored in it.",
        missing:
          path.program.type === "kprobe" ||
          path.program.type === "tracepoint" ||
          path.program.type === "perf_event" ||
          path.program.type === "raw_tracepoint" ||
          fromKernel(step)
            ? "read what it points to with bpf_probe_read_kernel() or BPF_CORE_READ(), which check the address; with bpf_probe_read_user() what belongs to a process"
            : "keep the pointer in a local variable instead of in a map, or mark the field __kptr if the kernel knows the type",
        code: readCode(one),
        where: line,
      };
    }
    if (event.kind === "call_result") {
      return {
        cause: `${name} is what ${event.callee ?? "a call"}() returned ${inLine(line)}: a number, not a pointer.`,
        missing:
          "a call that returns a pointer that the verifier knows, or bpf_probe_read_kernel() on the address",
        code:
          event.callee === "bpf_get_current_task"
            ? "struct task_struct *task = bpf_get_current_task_btf();"
            : readCode(one),
        where: line,
      };
    }
    if (event.kind === "written") {
      return {
        cause: `${name} was read from the stack, where ${event.callee ?? "a call"}() wrote it ${inLine(line)}: an address, perhaps, but to the verifier a number.`,
        missing:
          "read what it points to with bpf_probe_read_kernel() or BPF_CORE_READ(), which check the address",
        code: readCode(one),
        where: line,
      };
    }
    if (event.kind === "constant" && value?.constant === true) {
      const zero = event.after?.constant === true && event.after.value.value === 0n;
      return {
        cause: zero
          ? `${name} is NULL on this path: it was set to 0 ${inLine(line)}.`
          : `${name} is a constant ${inLine(line)}, not a pointer that the verifier knows.`,
        missing: zero
          ? "a test for NULL before the access, or a pointer that is set on every path"
          : "a pointer to a map value, the stack, the packet or the context",
        code: zero ? `if (!${pointerIn(one.place) ?? "p"})\n    ${giveUp(one)}` : "",
        where: line,
        ...(zero ? { class: "null-check" } : {}),
      };
    }
  }
  return {
    cause:
      `${name} holds ${valueWords(value)}, through which nothing may be ${writes(one) ? "written" : "read"} ${place === undefined ? "" : inLine(place)}.`.replace(
        " .",
        ".",
      ),
    missing: "a pointer to a map value, the stack, the packet or the context",
    code: "",
    where: place,
  };
}

/** A load from a structure of the kernel: addresses in it are no pointers that a program could have kept. */
function fromKernel(step: PathStep | undefined): boolean {
  const base = step?.state.frames.at(-1)?.registers[step.instruction.src];
  return base !== undefined && base.struct !== "";
}

/** A read through a number, as it should be; addresses that system calls are given belong to the process. */
function readCode(one: Case): string {
  const { program } = one.path;
  const user = program.type === "tracepoint" && /^(sys_|.*name)/.test(program.name);
  const element = /([A-Za-z_]\w*)\[([^\][]*)\]/.exec(one.place?.text ?? "");
  const star = /\*\s*\(?([A-Za-z_]\w*)\b(?!\s*\))/.exec(one.place?.text.replace(/^.*=/, "") ?? "");
  const member = /([A-Za-z_]\w*)->([\w.]+)/.exec(one.place?.text ?? "");
  const address =
    member !== null
      ? `&${member[1]}->${member[2]}`
      : element !== null
        ? `&${element[0]}`
        : (star?.[1] ?? "address");
  return `bpf_probe_read_${user ? "user" : "kernel"}(&value, sizeof(value), ${address});`;
}

function writes({ step }: Case): boolean {
  const cls = (step?.instruction.opcode ?? 0) & 7;
  return cls === 2 || cls === 3;
}

function nullBranch(one: Case, event: OriginEvent): Cause {
  const name = one.subject === undefined ? "The pointer" : locationName(one.subject);
  const line = placeOfEvent(one, event);
  return {
    class: "null-check",
    cause: `${name} is NULL on this path: the test ${inLine(line)} found it so, and the path goes on to use it.`,
    missing: "leave the function, or skip the access, where the pointer is NULL",
    code: `if (!${pointerIn(one.place) ?? "p"})\n    ${giveUp(one)}`,
    where: line,
    ...insertedSince(one, event),
  };
}

/** An element that was put into the map after the lookup failed is not what the pointer points to. */
function insertedSince(
  one: Case,
  check: OriginEvent,
): Pick<Cause, "missing" | "code"> | Record<string, never> {
  const { steps, program } = one.path;
  const lookup = one.origin.find(
    ({ kind, callee }) => kind === "call_result" && callee === "bpf_map_lookup_elem",
  );
  const update = steps.findIndex(
    (step, index) => index > check.step && index < one.at && helperOf(step) === "map_update_elem",
  );
  if (lookup === undefined || update < 0) return {};
  const text = placeOf(program, lookup.slot).text;
  const call = /bpf_map_lookup_elem\s*\(.*?\)/.exec(text)?.[0] ?? "bpf_map_lookup_elem(&map, &key)";
  const variable = pointerIn(one.place) ?? assignedIn(placeOf(program, lookup.slot), "p");
  return {
    missing: `look the element up again after it was inserted ${inLine(placeOf(program, (steps[update] as { slot: number }).slot))}: the pointer does not change by that`,
    code: `${variable} = ${call};\nif (!${variable})\n    ${giveUp(one)}`,
  };
}

function released(one: Case, event: OriginEvent): Cause {
  const name = one.subject === undefined ? "The pointer" : locationName(one.subject);
  const line = placeOfEvent(one, event);
  return {
    class: "use-after-release",
    cause: `${name} was ${valueWords(event.before)} until ${event.callee ?? "a call"}() ${inLine(line)} gave its object back; afterwards it may belong to somebody else.`,
    missing: "use the object before it is given back; copy what is needed later to the stack",
    code: "__u32 port = sk->src_port;   /* copy first */\nbpf_sk_release(sk);\nreturn port;",
    where: line,
  };
}

/** How a pointer became a number. */
export function lost(
  one: Case,
  event: OriginEvent,
  how: "arithmetic32" | "fill" | "operator" | "difference",
): Cause {
  const line = placeOfEvent(one, event);
  const name = one.subject === undefined ? "The register" : locationName(one.subject);
  const was = pointerBefore(one, event);
  const before = was === undefined ? "a pointer" : valueWords(was);
  switch (how) {
    case "arithmetic32":
      return {
        class: "lost-provenance",
        cause: `${name} was ${before} until ${inLine(line).replace("in ", "")}, where only its lower 32 bits were kept: what is left is a number.`,
        missing:
          "keep pointers in variables of pointer type or of 64 bits (__u64, unsigned long), never in __u32 or int",
        code: "void *p = (void *)(long)ctx->data;   /* not (__u32)ctx->data */",
        where: line,
        ...artefactOf32(one, line.text),
      };
    case "fill":
      return {
        class: "lost-provenance",
        cause: `Only a part of the eight bytes in which a pointer was kept on the stack is read or was overwritten ${inLine(line)}: what comes back is a number.`,
        missing:
          "read and write pointers on the stack as a whole: no casts of &pointer to narrower types, no memcpy of parts, no union with numbers",
        code: "void *saved = p;      /* all eight bytes */\n...\np = saved;",
        where: line,
      };
    case "difference":
      return {
        class: "lost-provenance",
        cause: `${name} is the difference of two pointers, computed ${inLine(line)}: a number, not an address.`,
        missing: "add the difference to a pointer before memory is accessed",
        code: "void *q = data + (p - data);",
        where: line,
      };
    default:
      return {
        class: "lost-provenance",
        cause: `${name} was ${before} until ${inLine(line).replace("in ", "")}, where arithmetic other than + and - was done on it: what is left is a number.`,
        missing: "do arithmetic on offsets, not on addresses, and add the offset to the pointer last",
        code: "__u64 off = (i * 24) & 0xff;\nvoid *p = base + off;",
        where: line,
      };
  }
}

/** A truncation that the source does not ask for. */
function artefactOf32(_one: Case, text: string): Pick<Cause, "artefact"> | Record<string, never> {
  if (text === "" || /u32|\bint\b|__s32|unsigned int|uint32_t/.test(text)) return {};
  return /\(\s*(long|unsigned long|__u64|void \*)/.test(text)
    ? { artefact: "the source keeps 64 bits, the compiler's instruction only 32" }
    : {};
}

function pointerBefore(one: Case, event: OriginEvent): ReturnType<typeof valueAt> {
  const step = one.path.steps[event.step];
  if (step === undefined) return undefined;
  return event.from.map((from) => valueAt(step.state, from)).find((value) => value?.pointer === true);
}

/** Refused at the arithmetic itself. */
export function pointerOperation(one: Case): Cause {
  const { rule } = one.complaint;
  const name = one.subject === undefined ? "The pointer" : locationName(one.subject);
  const line = one.place === undefined ? "" : ` ${inLine(one.place)}`;
  switch (rule?.cause) {
    case "arithmetic32":
      return {
        cause: `32-bit arithmetic${line} is done on ${name}, which holds ${valueWords(one.value)}: the result would be half an address.`,
        missing: "64-bit arithmetic: variables of pointer type, offsets of type __u64 or long",
        code: "void *p = data + off;        /* not (__u32)data + off */",
        where: one.place,
      };
    case "spill":
    case "fill":
      return {
        cause: `A pointer is stored to or loaded from the stack${line} with fewer than eight bytes, so that it could not come back whole.`,
        missing: "store pointers with all eight bytes: variables of pointer type or __u64",
        code: "__u64 saved = (__u64)p;      /* not __u32 */",
        where: one.place,
      };
    case "operator":
      return {
        cause: `${name} holds ${valueWords(one.value)}, and${line} an operation other than + and - is done on it: no address comes out of that.`,
        missing: "do arithmetic on offsets, not on addresses, and add the offset to the pointer last",
        code: "__u64 off = x & 0xff;\nvoid *p = base + off;",
        where: one.place,
      };
    case "two_pointers": {
      const operation = (one.step?.instruction.opcode ?? 0) & 0xf0;
      if (operation !== 0 && operation !== 0x10) {
        return {
          class: "lost-provenance",
          cause: `Two pointers are combined${line} by an operation other than + and -: no address comes out of that.`,
          missing: "do arithmetic on numbers; to swap two pointers, use a third variable",
          code: "void *t = a;\na = b;\nb = t;",
          where: one.place,
        };
      }
      return {
        cause: `Two pointers are added, multiplied or subtracted in an order${line} that gives no address that the verifier could follow.`,
        missing: "one pointer and one number in each addition; subtract only pointers into the same packet",
        code: "__u64 off = (void *)p - data;\nvoid *q = data + off;",
        where: one.place,
      };
    }
    case "atomic":
      return {
        cause: `Atomic instructions are not allowed on what ${name} points to: it holds ${valueWords(one.value)}.`,
        missing: "atomics on map values, memory or the stack only",
        code: "__sync_fetch_and_add(&value->counter, 1);   /* value from a map */",
        where: one.place,
      };
    case "special_field":
      if (/kptr/.test(one.complaint.message)) {
        return {
          cause: `The field accessed${line} is a kernel pointer of the map value (__kptr): what it holds belongs to the map, and plain loads and stores would lose or share it.`,
          missing: "bpf_kptr_xchg(), which puts one reference in and hands the old one out",
          code: `old = bpf_kptr_xchg(&${memberIn(one) ?? "v->ptr"}, p);   /* p: acquired, or NULL */\nif (old)\n    bpf_task_release(old);   /* what belongs to the type */`,
          where: one.place,
        };
      }
      return {
        cause: `The access${line} touches a field of the map value that belongs to the kernel (a lock, a timer, a kernel pointer, ...).`,
        missing:
          "use the helpers of that field, and access the other members one by one instead of copying the whole value",
        code: "bpf_spin_lock(&v->lock);\nv->counter++;\nbpf_spin_unlock(&v->lock);",
        where: one.place,
      };
    default:
      return {
        cause: `Nothing may be added to ${name}, which holds ${valueWords(one.value)}: this kind of pointer is used as it is.`,
        missing: "use the pointer as it is; for the end of the packet, compute from data instead",
        code: "",
        where: one.place,
      };
  }
}

/** The member that a source line accesses: "v->task" of "v->task = p;". */
function memberIn({ place }: Case): string | undefined {
  return /[A-Za-z_]\w*->[\w.]+/.exec(place?.text ?? "")?.[0];
}

/** What releases an object needs the object. */
export function releaseArgument(one: Case): Cause {
  const name = one.subject === undefined ? "The argument" : locationName(one.subject);
  const twice = one.complaint.rule?.cause === "twice";
  return {
    cause: twice
      ? "The reference that this call gives back is not held any more: it was given back before, or never taken."
      : `${name} holds ${valueWords(one.value)}, which is not held as a reference: there is nothing to give back.`,
    missing:
      "give back each reference exactly once, through the pointer that took it, and nothing that was only lent: arguments of the program, members of structures",
    code: "struct bpf_sock *sk = bpf_sk_lookup_tcp(...);\nif (sk)\n    bpf_sk_release(sk);",
    where: one.place,
  };
}

/** A reference that is still held at the end. */
export function leak(one: Case): Cause {
  const { complaint, path, at, step } = one;
  const { groups } = complaint;
  const held =
    step?.state.references.find(({ id }) => String(id) === groups["id"]) ?? step?.state.references.at(-1);
  const slot = groups["insn"] === undefined ? held?.index : Number(groups["insn"]);
  const taken = slot === undefined ? undefined : placeOf(path.program, slot);
  const exit = one.place;
  const kind = held?.kind === "lock" ? "lock" : "reference";
  const acquired = path.steps.findIndex((other) => other.slot === slot);
  const branch = lastBranch(one, acquired, at);
  const again = taken === undefined ? undefined : takenAgain(one, acquired, taken);
  if (again !== undefined && taken !== undefined) {
    return {
      cause: `The ${kind} taken ${inLine(taken)} is still held when the same line takes another: the variable holds only the newer one from then on, and the older cannot be given back any more.`,
      missing: "give it back before the next round takes another",
      code: releaseCode(one, slot).replace(/\nreturn 0;$/, ""),
      place: taken,
      where: taken,
    };
  }
  return {
    cause:
      `The ${kind} taken ${taken === undefined ? "before" : inLine(taken)} is still held where this path ends` +
      `${exit === undefined ? "" : ` (${inLine(exit)})`}.` +
      (branch === undefined ? "" : ` The path leaves at the condition ${inLine(branch)}.`),
    missing: "give it back on every path to the end, also where the function returns early",
    code: releaseCode(one, slot),
    place: taken,
    where: branch ?? exit,
  };
}

/** Whether the line that took the reference takes one more on this path: in a loop, unrolled or not. */
function takenAgain(
  { path, at }: Case,
  from: number,
  taken: ReturnType<typeof placeOf>,
): PathStep | undefined {
  const imm = path.steps[from]?.instruction.imm;
  if (from < 0 || taken.line === 0) return undefined;
  return path.steps
    .slice(from + 1, at)
    .find(
      (step) =>
        isCall(step) && step.instruction.imm === imm && placeOf(path.program, step.slot).line === taken.line,
    );
}

function lastBranch(one: Case, from: number, to: number): ReturnType<typeof placeOf> | undefined {
  for (let index = to - 1; index > from; index--) {
    const step = one.path.steps[index];
    if (step === undefined) continue;
    const cls = step.instruction.opcode & 7;
    const operation = step.instruction.opcode & 0xf0;
    if ((cls === 5 || cls === 6) && operation !== 0 && operation !== 0x80 && operation !== 0x90) {
      return placeOf(one.path.program, step.slot);
    }
  }
  return undefined;
}

/** What gives back what kernel functions take. */
const RELEASES: readonly { readonly taken: RegExp; readonly code: string }[] = [
  { taken: /^bpf_task_/, code: "bpf_task_release(VARIABLE);" },
  { taken: /^bpf_cgroup_/, code: "bpf_cgroup_release(VARIABLE);" },
  { taken: /^bpf_cpumask_/, code: "bpf_cpumask_release(VARIABLE);" },
  { taken: /^bpf_(skb|xdp)_ct_|^bpf_ct_/, code: "bpf_ct_release(VARIABLE);" },
  { taken: /^bpf_lookup_.*_key/, code: "bpf_key_put(VARIABLE);" },
  { taken: /^bpf_get_task_exe_file/, code: "bpf_put_file(VARIABLE);" },
  { taken: /^bpf_percpu_obj_new/, code: "bpf_percpu_obj_drop(VARIABLE);" },
  { taken: /^bpf_(obj_new|refcount_acquire|list_pop|rbtree_remove)/, code: "bpf_obj_drop(VARIABLE);" },
  { taken: /^bpf_crypto_ctx_/, code: "bpf_crypto_ctx_release(VARIABLE);" },
];

function releaseCode({ path }: Case, slot: number | undefined): string {
  const instruction = slot === undefined ? undefined : path.program.instructions[slot];
  if (slot !== undefined && instruction?.src === 2) {
    const name = kfuncName(path.program, instruction.imm);
    const { text } = placeOf(path.program, slot);
    const iterator = /^(bpf_iter_\w+)_new$/.exec(name)?.[1];
    if (iterator !== undefined) {
      const object = /_new\s*\(\s*(&\w+)/.exec(text)?.[1] ?? "&it";
      return `${iterator}_destroy(${object});   /* on every path, also if _new failed */\nreturn 0;`;
    }
    const row = RELEASES.find(({ taken }) => taken.test(name));
    const variable = assignedIn(placeOf(path.program, slot), "p");
    if (row !== undefined) return `${row.code.replace("VARIABLE", variable)}\nreturn 0;`;
  }
  if (slot !== undefined && instruction?.src === 0) {
    const { text } = placeOf(path.program, slot);
    switch (helperName(instruction.imm)) {
      case "ringbuf_reserve":
        return `bpf_ringbuf_discard(${assignedIn(placeOf(path.program, slot), "e")}, 0);   /* or bpf_ringbuf_submit(...) */\nreturn 0;`;
      case "ringbuf_reserve_dynptr":
        return `bpf_ringbuf_discard_dynptr(${/(&\w+)\s*\)/.exec(text)?.[1] ?? "&ptr"}, 0);   /* also where the reservation failed */\nreturn 0;`;
      case "kptr_xchg":
        return "old = bpf_kptr_xchg(&v->ptr, p);\nif (old)\n    bpf_task_release(old);   /* what belongs to the type */";
    }
  }
  return "bpf_sk_release(sk);          /* what belongs to the call that took it */\nreturn 0;";
}
