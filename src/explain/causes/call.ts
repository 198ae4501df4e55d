/** Functions that may not be called here, arguments and maps of the wrong type, locks and regions. */
import { HELPERS, MAP_TYPES, allowedHelpers } from "../../uapi/index.ts";
import { missingForHelper } from "../../verifier/index.ts";
import { type Case, type Cause, inLine, placeOfEvent } from "../case.ts";
import { helperOf, isCall } from "../effects.ts";
import { kfuncName } from "../instructions.ts";
import { locationName } from "../location.ts";
import { placeOf } from "../place.ts";
import type { OriginEvent } from "../origin.ts";
import { valueWords } from "../words.ts";
import { notAPointer } from "./pointer.ts";

export function callNotAllowed(one: Case): Cause {
  const { complaint, path, place, step } = one;
  const { groups, rule } = complaint;
  const { type } = path.program;
  const name = groups["name"] ?? "";
  const imm = step?.instruction.imm ?? 0;
  switch (rule?.cause) {
    case "helper": {
      const lacks = missingForHelper(name.replace(/^bpf_/, ""), path.options);
      if (lacks !== undefined) {
        return {
          class: "capability",
          cause: `${name}() is for processes with CAP_${lacks.toUpperCase()}; ${type} programs of others may not call it.`,
          missing: `another way to the same end, or CAP_${lacks.toUpperCase()}`,
          code: "",
          where: place,
        };
      }
      return {
        cause: `Programs of type ${type} may not call ${name}().`,
        missing: `another way to the same end, or another program type: see \`skep helpers ${name.replace(/^bpf_/, "")}\` and \`skep types ${type}\``,
        code: "",
        where: place,
        ...alternative(one, name),
      };
    }
    case "unknown":
      return {
        cause: `There is no helper number ${groups["id"] ?? imm} in Linux 6.18${name === "" || name === "unknown" ? "" : `, or ${name}() is not built in`}.`,
        missing:
          "a helper that the kernel has; declarations that are newer than the kernel number helpers that it does not know",
        code: "",
        where: place,
      };
    case "licence":
      return {
        cause: `The function called is for programs under a licence compatible with the GPL only, and this object says ${path.program.license === "" ? "nothing about its licence" : `"${path.program.license}"`}.`,
        missing: "a licence that the kernel takes as compatible with the GPL, if the program is under it",
        code: 'char LICENSE[] SEC("license") = "GPL";   /* or "Dual BSD/GPL", "Dual MIT/GPL", ... */',
        where: place,
      };
    case "sleeps":
      return {
        cause: "The function called may sleep, and the program is not loaded as one that may.",
        missing:
          'a sleepable program (sections that end in ".s", as "fentry.s/", "lsm.s/", "uprobe.s/", or "syscall"), or a function that does not sleep',
        code: 'SEC("lsm.s/bprm_check_security")',
        where: place,
      };
    case "kfunc":
      return {
        cause: `The kernel function ${name === "" ? "" : `${name}() `}may not be called by ${type} programs, or the kernel has none of this name.`,
        missing: `a kernel function that is registered for this program type: see \`skep helpers${name === "" ? "" : ` ${name}`}\``,
        code: "",
        where: place,
      };
    case "legacy":
      return {
        cause: `Programs of type ${type} have no packet loads by offset (BPF_LD_ABS, BPF_LD_IND).`,
        missing: "direct packet access through ctx->data, or bpf_skb_load_bytes()",
        code: "",
        where: place,
      };
    default:
      return {
        cause:
          "The function called is allowed for programs that are attached to certain kernel functions only.",
        missing: "another attach point, or another function",
        code: "",
        where: place,
      };
  }
}

/** Helpers that do the same for other program types. */
const ALTERNATIVES: readonly { readonly name: string; readonly instead: string; readonly code: string }[] = [
  {
    name: "bpf_skb_load_bytes",
    instead: "xdp_load_bytes",
    code: "bpf_xdp_load_bytes(ctx, off, buf, sizeof(buf));",
  },
  {
    name: "bpf_skb_store_bytes",
    instead: "xdp_store_bytes",
    code: "bpf_xdp_store_bytes(ctx, off, buf, sizeof(buf));",
  },
  { name: "bpf_redirect_map", instead: "redirect", code: "return bpf_redirect(ifindex, 0);" },
  { name: "bpf_redirect", instead: "redirect_map", code: "return bpf_redirect_map(&devices, index, 0);" },
  {
    name: "bpf_xdp_adjust_tail",
    instead: "skb_change_tail",
    code: "bpf_skb_change_tail(skb, length, 0);",
  },
  {
    name: "bpf_skb_change_tail",
    instead: "xdp_adjust_tail",
    code: "bpf_xdp_adjust_tail(ctx, delta);",
  },
  {
    name: "bpf_xdp_adjust_head",
    instead: "skb_change_head",
    code: "bpf_skb_change_head(skb, bytes, 0);",
  },
  {
    name: "bpf_skb_change_head",
    instead: "xdp_adjust_head",
    code: "bpf_xdp_adjust_head(ctx, -bytes);",
  },
  {
    name: "bpf_get_current_task",
    instead: "get_current_task_btf",
    code: "struct task_struct *task = bpf_get_current_task_btf();",
  },
  {
    name: "bpf_xdp_load_bytes",
    instead: "skb_load_bytes",
    code: "bpf_skb_load_bytes(skb, off, buf, sizeof(buf));",
  },
];

function alternative({ path: { program } }: Case, name: string): Pick<Cause, "code"> | Record<string, never> {
  const row = ALTERNATIVES.find((one) => one.name === name);
  const id = HELPERS.find((helper) => helper.name === row?.instead)?.id;
  if (row === undefined || id === undefined) return {};
  return allowedHelpers({ type: program.type }).has(id) ? { code: row.code } : {};
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  fp: "a pointer to the stack",
  pkt: "a packet pointer",
  pkt_meta: "a pointer to packet metadata",
  map_key: "a map key",
  map_value: "a map value",
  mem: "memory",
  ringbuf_mem: "a record of a ring buffer",
  buf: "a buffer",
  scalar: "a number",
  ctx: "the context",
  map_ptr: "a map",
  func: "a function of the program",
  sock: "a socket",
  sock_common: "a socket",
  tcp_sock: "a TCP socket",
  xdp_sock: "an XDP socket",
  trusted_ptr_: "a trusted kernel pointer",
  ptr_: "a pointer to a kernel structure",
};

function expectedWords(list: string): string {
  const words = new Set(list.split(", ").map((type) => TYPE_WORDS[type] ?? type));
  const all = [...words];
  const last = all.pop() ?? "";
  return all.length === 0 ? last : `${all.join(", ")} or ${last}`;
}

export function typeMismatch(one: Case): Cause {
  const { complaint, subject, value, place, path } = one;
  const { groups, rule } = complaint;
  const { type } = path.program;
  const name = subject === undefined ? "The argument" : locationName(subject);
  switch (rule?.cause) {
    case "argument": {
      // A number where a pointer is expected has a history that says more.
      if (value !== undefined && !value.pointer && !/\bscalar\b/.test(groups["expected"] ?? "")) {
        const deeper = notAPointer(one);
        if (deeper.class !== undefined) return deeper;
      }
      const made = lastMade(one);
      return {
        cause:
          `${name} holds ${valueWords(value)}, and this call takes ${expectedWords(groups["expected"] ?? "")} there.` +
          (made === undefined ? "" : ` It got that value ${inLine(placeOfEvent(one, made))}.`),
        missing: (groups["expected"] ?? "").includes("fp")
          ? "the address of a variable: copy the value to the stack and pass its address"
          : "an argument of the type that the function takes; see its prototype with `skep helpers NAME`",
        code: (groups["expected"] ?? "").includes("fp")
          ? "__u32 key = 0;\nbpf_map_lookup_elem(&map, &key);"
          : "",
        where: place,
        ...argumentHint(one),
      };
    }
    case "map": {
      const map = MAP_TYPES.find(({ id }) => String(id) === groups["map"])?.name ?? groups["map"] ?? "";
      const own = mapName(one);
      return {
        cause: `${groups["name"] ?? "The helper"}() does not take maps of type ${map}${own === undefined ? "" : ` ('${own}')`}.`,
        missing: "the helper that belongs to the map's type, or a map of another type",
        code: MAP_HINTS[map] ?? "",
        where: place,
      };
    }
    case "tail_call":
      return {
        cause: `bpf_tail_call() needs a map of type prog_array${mapName(one) === undefined ? "" : `, and '${mapName(one) ?? ""}' is none`}.`,
        missing: "a program array that holds the programs to go on with",
        code: 'struct {\n    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);\n    __uint(max_entries, 8);\n    __type(key, __u32);\n    __type(value, __u32);\n} programs SEC(".maps");',
        where: place,
      };
    case "map_program": {
      const field = /cannot use bpf_(spin_lock|timer|wq|list_head|rb_root)/.exec(complaint.message)?.[1];
      if (field !== undefined) {
        return {
          cause: `A map that this program uses has a bpf_${field} in its values, and programs of type ${type} may not use such maps: ${complaint.message}.`,
          missing:
            field === "spin_lock"
              ? "a map without the lock: atomic instructions, or a per-CPU map, count without one"
              : "a map without the field, or another program type",
          code: field === "spin_lock" ? "__sync_fetch_and_add(&value->counter, 1);" : "",
          where: place,
        };
      }
      return {
        cause: `This kind of map may not be used by this program: ${complaint.message}.`,
        missing:
          path.program.sleepable === true
            ? "a map type that sleepable programs may use, or a program that does not sleep"
            : "another map type, or another program type",
        code: "",
        where: place,
      };
    }
    case "sleepable":
      return {
        cause: `Whether a program may sleep does not fit its type: ${complaint.message}.`,
        missing: 'a section name with or without ".s", as the type asks',
        code: "",
        where: place,
      };
    case "packet_argument":
      return {
        cause: `${name} points into the packet, and this call does not take packet memory here.`,
        missing: "a copy of the bytes on the stack, whose address is passed",
        code: "__u8 copy[16];\nbpf_skb_load_bytes(skb, off, copy, sizeof(copy));",
        where: place,
      };
    case "two_types":
      return {
        cause: `The instruction ${place === undefined ? "" : inLine(place)} is reached with pointers of different kinds on different paths, and the kernel must rewrite it for one of them.`,
        missing: "an access of its own on each path, so that each instruction sees one kind of pointer",
        code: "",
        where: place,
        artefact: "the compiler merged accesses that stand apart in the source",
      };
    case "offset":
      return {
        cause: `${name} must be the pointer exactly as it was given, and something was added to it.`,
        missing: "pass the pointer that the call returned, not one into the middle of the object",
        code: "",
        where: place,
      };
    default: {
      const maps = otherMap(one);
      if (maps !== undefined) return maps;
      return {
        cause: `An argument does not fit: ${complaint.message}${subject === undefined ? "" : `. ${name} holds ${valueWords(value)}`}.`,
        missing: "an argument of the type that the function takes",
        code: "",
        where: place,
      };
    }
  }
}

/** A timer or work queue in a value of another map than the one that is passed with it. */
function otherMap({ complaint, step, place }: Case): Cause | undefined {
  const kind = /^(timer|workqueue|bpf_task_work) pointer in R1 .*doesn't match map pointer/.exec(
    complaint.message,
  )?.[1];
  const [, object, map] = step?.state.frames.at(-1)?.registers ?? [];
  if (kind === undefined || object?.map === undefined || map?.map === undefined) return undefined;
  const same = object.map.name === map.map.name;
  return {
    cause:
      `The ${kind} lies in a value of ${object.map.name === "" ? "an inner map" : `map '${object.map.name}'`}, and the map that is passed with it is ${same ? "another one of that name" : `'${map.map.name}'`}: ` +
      "the kernel must know which map keeps it alive.",
    missing: "the map that the value was looked up in",
    code: kind === "timer" ? `bpf_timer_init(&v->timer, &${object.map.name || "map"}, CLOCK_MONOTONIC);` : "",
    where: place,
  };
}

/** What some helpers want that a program gets wrong often; `type`: of what it passes. */
const ARGUMENT_HINTS: readonly {
  readonly helpers: RegExp;
  readonly type: RegExp;
  readonly missing: string;
  readonly code: string;
}[] = [
  {
    helpers: /^(spin_lock|spin_unlock|timer_init|timer_start|timer_set_callback|timer_cancel)$/,
    type: /^fp$/,
    missing:
      "a lock or timer that lies in the value of a map (or in a global variable): it must outlive the program's run",
    code: "struct value *v = bpf_map_lookup_elem(&map, &key);\nif (v)\n    bpf_spin_lock(&v->lock);",
  },
  {
    helpers: /^strncmp$/,
    type: /^fp$/,
    missing: "a text that never changes as third argument: it lies in .rodata (or compare byte by byte)",
    code: 'static const char name[] = "bash";\nbpf_strncmp(comm, sizeof(comm), name);',
  },
  {
    helpers: /^(snprintf|snprintf_btf)$/,
    type: /^fp$/,
    missing: "a text that never changes: it lies in .rodata",
    code: 'static const char format[] = "%d";',
  },
  {
    helpers: /^(sk_storage_get|sk_storage_delete|sk_fullsock|tcp_sock|sk_release|skc_to_\w+|sk_cgroup_id)$/,
    type: /^ctx$/,
    missing: "the socket of the packet, tested for NULL",
    code: "struct bpf_sock *sk = skb->sk;\nif (!sk)\n    return 0;",
  },
];

function argumentHint({ step, value }: Case): Pick<Cause, "missing" | "code"> | Record<string, never> {
  const helper = step === undefined ? undefined : helperOf(step);
  const row = ARGUMENT_HINTS.find(
    ({ helpers, type }) => helpers.test(helper ?? "") && type.test(value?.type ?? ""),
  );
  return row === undefined ? {} : { missing: row.missing, code: row.code };
}

const MAP_HINTS: Readonly<Record<string, string>> = {
  prog_array: "bpf_tail_call(ctx, &programs, index);",
  perf_event_array: "bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));",
  ringbuf: "bpf_ringbuf_output(&events, &e, sizeof(e), 0);",
  stack_trace: "bpf_get_stackid(ctx, &stacks, 0);",
  devmap: "return bpf_redirect_map(&devices, index, 0);",
  cpumap: "return bpf_redirect_map(&cpus, cpu, 0);",
  xskmap: "return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);",
  queue: "bpf_map_pop_elem(&queue, &value);",
  stack: "bpf_map_pop_elem(&stack, &value);",
  bloom_filter: "bpf_map_peek_elem(&filter, &value);",
  sk_storage: "bpf_sk_storage_get(&storage, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);",
  task_storage: "bpf_task_storage_get(&storage, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);",
};

function mapName({ step }: Case): string | undefined {
  const registers = step?.state.frames.at(-1)?.registers ?? [];
  return registers.slice(1, 6).find((reg) => reg?.type === "map_ptr")?.map?.name;
}

function lastMade({ origin }: Case): OriginEvent | undefined {
  return origin.findLast(
    ({ kind }) =>
      kind !== "check" && kind !== "entry" && kind !== "move" && kind !== "spill" && kind !== "fill",
  );
}

export function region(one: Case): Cause {
  const { complaint, place, step, path } = one;
  const held = step?.state.references.find(({ kind }) => kind !== "pointer");
  const where = complaint.groups["region"];
  const slot = held?.index ?? entryOf(one, where);
  const entered = slot === undefined ? undefined : placeOf(path.program, slot);
  const line = entered === undefined ? "" : ` (taken ${inLine(entered)})`;
  switch (complaint.rule?.cause) {
    case "lock_call":
      return {
        cause: `A function is called while a lock is held${line}; between bpf_spin_lock() and bpf_spin_unlock() nothing may be called.`,
        missing: "the call before the lock is taken, or after it is given back",
        code: "bpf_spin_lock(&v->lock);\nv->count++;\nbpf_spin_unlock(&v->lock);\nbpf_trace_printk(...);",
        where: place,
      };
    case "sleep":
      return {
        cause: `${complaint.groups["name"] ?? "The function"} may sleep, and it is called inside of a region where nothing may sleep${where === undefined ? "" : ` (${where})`}.`,
        missing: "the call after the region has ended",
        code: "",
        where: place,
      };
    case "held":
      return {
        cause: `The list or tree is used without its lock: the bpf_spin_lock that lies beside it in the same map value or object must be held.`,
        missing: "the lock of the same value, taken before and given back after",
        code: "bpf_spin_lock(&v->lock);\nbpf_list_push_back(&v->head, &node->list);\nbpf_spin_unlock(&v->lock);",
        where: place,
      };
    case "rcu":
      return {
        cause: "The function may be called inside of an RCU section only, and none is open here.",
        missing:
          "bpf_rcu_read_lock() before, bpf_rcu_read_unlock() after the last use (sleepable programs have no section of their own)",
        code: "bpf_rcu_read_lock();\nbpf_for_each(task, p, NULL, BPF_TASK_ITER_ALL_PROCS) { ... }\nbpf_rcu_read_unlock();",
        where: place,
      };
    case "callback":
      return {
        cause: `This may not be done inside of a callback that runs under a lock, or from another place than the program itself: ${complaint.message}.`,
        missing: "the operation outside of the callback",
        code: "",
        where: place,
      };
    case "exit": {
      const [enter, leave] = regionCalls(where);
      return {
        cause: `The program ends or makes a tail call inside of a region that it entered${entered === undefined ? "" : ` ${inLine(entered)}`} and did not leave${where === undefined ? "" : ` (${where})`}.`,
        missing: "leave the region on every path",
        place: entered ?? place,
        code: `${enter}\n...\n${leave}   /* before each return */`,
        where: place,
      };
    }
    default:
      return {
        cause: `A lock or a region is entered, left or used in a way that is not allowed: ${complaint.message}.`,
        missing: "one lock at a time, in the same function, taken and given back on every path",
        code: "",
        where: place,
      };
  }
}

/** How regions are entered and left, by what the complaint calls them. */
const REGIONS: readonly { readonly words: RegExp; readonly enter: string; readonly leave: string }[] = [
  { words: /preempt/, enter: "bpf_preempt_disable", leave: "bpf_preempt_enable" },
  { words: /irq/, enter: "bpf_local_irq_save", leave: "bpf_local_irq_restore" },
  { words: /res_spin/, enter: "bpf_res_spin_lock", leave: "bpf_res_spin_unlock" },
  { words: /spin_lock/, enter: "bpf_spin_lock", leave: "bpf_spin_unlock" },
  { words: /rcu/, enter: "bpf_rcu_read_lock", leave: "bpf_rcu_read_unlock" },
];

function regionCalls(words: string | undefined): readonly [enter: string, leave: string] {
  const { enter, leave } = REGIONS.find((row) => row.words.test(words ?? "")) ?? {
    enter: "bpf_rcu_read_lock",
    leave: "bpf_rcu_read_unlock",
  };
  const argument = enter.includes("irq") ? "&flags" : enter.includes("spin") ? "&v->lock" : "";
  return [`${enter}(${argument});`, `${leave}(${argument});`];
}

/** The slot of the call that entered the region which the complaint names, by the path: states do not tell where. */
function entryOf({ path }: Case, words: string | undefined): number | undefined {
  const row = REGIONS.find((region) => region.words.test(words ?? ""));
  if (row === undefined) return undefined;
  return path.steps.findLast(
    (step) =>
      isCall(step) &&
      step.instruction.src === 2 &&
      kfuncName(path.program, step.instruction.imm) === row.enter,
  )?.slot;
}

export function kernelPointer(one: Case): Cause {
  const { subject, value, complaint, place } = one;
  const name = subject === undefined ? "The pointer" : locationName(subject);
  const made = lastMade(one);
  if (complaint.rule?.cause === "field") {
    return {
      cause:
        `The access does not fit the kernel's structure: ${complaint.message}.` +
        (made === undefined ? "" : ` The pointer was made ${inLine(placeOfEvent(one, made))}.`),
      missing: "a member of the structure, read with its own size",
      code: "",
      where: place,
    };
  }
  const ended = one.origin.findLast(({ callee }) => callee === "bpf_rcu_read_unlock");
  if (ended !== undefined) {
    return {
      cause: `${name} was protected until bpf_rcu_read_unlock() ${inLine(placeOfEvent(one, ended))} ended the section; since then the object may be gone, and it is ${valueWords(value)}.`,
      missing: "use it before the section ends, or take a reference inside of the section",
      code: "bpf_rcu_read_lock();\np = task->real_parent;\nheld = p ? bpf_task_acquire(p) : NULL;\nbpf_rcu_read_unlock();",
      where: placeOfEvent(one, ended),
    };
  }
  const at = made === undefined ? undefined : placeOfEvent(one, made);
  const member = at === undefined ? undefined : /\w+->(\w+)/.exec(at.text)?.[1];
  const marked = RCU_MEMBERS.has(member ?? "");
  return {
    cause:
      `${name} holds ${valueWords(value)}${at === undefined ? "" : `, read ${inLine(at)}`}, and here the kernel needs a pointer that is known to stay valid (${complaint.message}). ` +
      (marked
        ? "What it was read from is protected by RCU only, and no RCU section is open here."
        : "Walking from one structure to another, or reading it out of a map, promises nothing about the object's life."),
    missing: marked
      ? "bpf_rcu_read_lock() before the pointer is read, bpf_rcu_read_unlock() after its last use"
      : "a reference from an acquire function (bpf_task_from_pid(), bpf_cgroup_from_id(), bpf_kptr_xchg()), or only reading through the pointer",
    code: marked
      ? `bpf_rcu_read_lock();\np = task->${member ?? "real_parent"};\n...\nbpf_rcu_read_unlock();`
      : "struct task_struct *p = bpf_task_from_pid(pid);\nif (p) {\n    ...\n    bpf_task_release(p);\n}",
    where: at ?? place,
  };
}

/** Members of the kernel's structures that it marks as protected by RCU (BTF_TYPE_SAFE_RCU of kernel/bpf/verifier.c), and that programs read. */
const RCU_MEMBERS: ReadonlySet<string> = new Set([
  "cpus_ptr",
  "cgroups",
  "real_parent",
  "group_leader",
  "kn",
  "dfl_cgrp",
  "socket",
  "exe_file",
]);

export function objectState(one: Case): Cause {
  const { complaint, place, step } = one;
  const slots = step?.state.frames.at(-1)?.slots ?? [];
  const objects = slots
    .map((slot, index) =>
      slot !== undefined && /[di]/.test(slot.text) ? `fp-${(index + 1) * 8}` : undefined,
    )
    .filter((name) => name !== undefined);
  return {
    cause: `An object on the stack (dynptr, iterator, ...) is not in the state that this call needs: ${complaint.message}.${objects.length === 0 ? "" : ` Objects lie at ${objects.join(", ")}.`}`,
    missing:
      "make the object first, use it only until it is ended, end it exactly once, and never write over it or copy it",
    code: "struct bpf_dynptr ptr;\nif (bpf_dynptr_from_xdp(ctx, 0, &ptr))\n    return XDP_DROP;",
    where: place,
  };
}
