/** The classes of rejections, and by which complaint of the verifier each is known. */

/** One row for each class; `title` is what a person reads first, the page is docs/verifier/ID.md. */
export const CLASSES = [
  { id: "invalid-pointer", title: "access through something that is not a valid pointer" },
  { id: "invalid-context", title: "access to the context that this program type does not allow" },
  { id: "missing-range", title: "a number that has no proven range" },
  { id: "lost-provenance", title: "a pointer that has become a number" },
  { id: "packet-bounds", title: "packet access without a valid bounds check" },
  { id: "null-check", title: "a pointer that may be NULL" },
  { id: "leaked-reference", title: "a reference that is not given back" },
  { id: "use-after-release", title: "a pointer whose object is gone" },
  { id: "too-complex", title: "a loop without a bound, or too many paths" },
  { id: "call-not-allowed", title: "a function that this program may not call" },
  { id: "stack", title: "stack out of bounds or too deep" },
  { id: "misaligned", title: "misaligned access" },
  { id: "uninitialised", title: "a value that was never written" },
  { id: "return-value", title: "a return value out of range" },
  { id: "type-mismatch", title: "an argument, map or program of the wrong type" },
  { id: "read-only", title: "a write to what may only be read" },
  { id: "untrusted-pointer", title: "a kernel pointer that is not trusted here" },
  { id: "object-state", title: "a dynptr, iterator or other object in the wrong state" },
  { id: "context-region", title: "an operation that is not allowed inside of a lock or region" },
  { id: "pointer-leak", title: "an address that would become known" },
  { id: "speculation", title: "what a processor could reach by a wrong guess" },
  { id: "capability", title: "something that this process may not do" },
  { id: "malformed", title: "instructions or type information that are malformed" },
  { id: "other", title: "a rule of the verifier" },
] as const;

/** "packet-bounds", ... */
export type RejectionClass = (typeof CLASSES)[number]["id"];

export function titleOf(id: RejectionClass): string {
  return CLASSES.find((row) => row.id === id)?.title ?? id;
}

/** The page that explains the class. */
export function pageOf(id: RejectionClass): string {
  return `docs/verifier/${id}.md`;
}

/** A complaint of the kernel's verifier. Groups that a pattern may have: `reg` the register, `arg` the argument counted from 1, `nth` from 0, `off` the stack offset. */
export interface ComplaintRule {
  readonly pattern: RegExp;
  readonly class: RejectionClass;
  /** Which cause of the class it is; see `causes/`. */
  readonly cause: string;
}

/**
 * In the order in which they are tried, on each line of the complaint, the last line first. Texts are the kernel's, so that logs
 * of a kernel can be classified too.
 */
export const COMPLAINTS: readonly ComplaintRule[] = [
  // Processes with fewer capabilities.
  { pattern: /^R(?<reg>\d+) leaks addr into helper function/, class: "pointer-leak", cause: "helper" },
  { pattern: /^R(?<reg>\d+) leaks addr into /, class: "pointer-leak", cause: "store" },
  { pattern: /^R(?<reg>\d+) leaks addr as return value/, class: "pointer-leak", cause: "return" },
  { pattern: /^R(?<reg>\d+) pointer comparison prohibited/, class: "pointer-leak", cause: "comparison" },
  {
    pattern:
      /^R(?<reg>\d+) (partial copy|sign-extension part) of pointer|^R(?<reg2>\d+) pointer arithmetic prohibited/,
    class: "pointer-leak",
    cause: "arithmetic",
  },
  {
    pattern: /^(leaking pointer from stack off|attempt to corrupt spilled pointer on stack)/,
    class: "pointer-leak",
    cause: "stack",
  },
  {
    pattern: /^R(?<reg>\d+) has unknown scalar with mixed signed bounds/,
    class: "speculation",
    cause: "sign",
  },
  {
    pattern: /^R(?<reg>\d+) has pointer with unsupported alu operation/,
    class: "speculation",
    cause: "type",
  },
  {
    pattern: /^R(?<reg>\d+) tried to (add|sub) from different maps, paths or scalars/,
    class: "speculation",
    cause: "paths",
  },
  {
    pattern:
      /^R(?<reg>\d+) (tried to (add|sub) beyond pointer bounds|(stack pointer arithmetic|pointer arithmetic of map value) goes out of range, prohibited for !root)/,
    class: "speculation",
    cause: "limit",
  },
  {
    pattern:
      /^R(?<reg>\d+).* variable (offset )?stack access prohibited for !root|^R(?<reg2>\d+) variable stack access prohibited for !root|^(spilled ptr|uninit stack) in range of var-offset/,
    class: "speculation",
    cause: "stack",
  },
  { pattern: /^tail_call abusing map_ptr/, class: "speculation", cause: "map" },
  {
    pattern: /^loading\/calling other bpf or kernel functions are allowed for/,
    class: "capability",
    cause: "function",
  },
  { pattern: /^back-edge from insn (?<insn>\d+) to \d+/, class: "capability", cause: "loop" },
  {
    pattern: /^(\w+ programs|programs of more than \d+ instructions) need (?<needed>CAP_\w+( and CAP_\w+)*)/,
    class: "capability",
    cause: "type",
  },
  {
    pattern: /^'struct (?<struct>\w+)' access is allowed only to CAP_PERFMON/,
    class: "capability",
    cause: "struct",
  },
  { pattern: /^CAP_BPF and CAP_PERFMON are required to use arena/, class: "capability", cause: "arena" },
  // Pointers that may be NULL.
  { pattern: /^R(?<reg>\d+) invalid mem access '\w*or_null_?'/, class: "null-check", cause: "access" },
  {
    pattern: /^R(?<reg>\d+) pointer arithmetic on \w*or_null_? prohibited, null-check it first/,
    class: "null-check",
    cause: "arithmetic",
  },
  { pattern: /^R(?<reg>\d+) type=\w*or_null_? expected=/, class: "null-check", cause: "argument" },
  {
    // Helpers' arguments are counted from 1, kernel functions' from 0.
    pattern: /^Possibly NULL pointer passed to (helper arg(?<arg>\d+)|trusted arg(?<nth>\d+))/,
    class: "null-check",
    cause: "argument",
  },
  // Packets.
  {
    pattern: /^invalid access to packet, off=-?\d+ size=\d+, R(?<reg>\d+)/,
    class: "packet-bounds",
    cause: "access",
  },
  { pattern: /^R(?<reg>\d+) offset is outside of the packet/, class: "packet-bounds", cause: "access" },
  { pattern: /^cannot write into packet/, class: "read-only", cause: "packet" },
  {
    pattern: /^helper access to the packet is not allowed/,
    class: "type-mismatch",
    cause: "packet_argument",
  },
  // Contexts.
  {
    pattern: /^invalid bpf_context access off=(?<at>-?\d+) size=(?<size>\d+)/,
    class: "invalid-context",
    cause: "field",
  },
  {
    pattern: /^dereference of modified (?<type>\w+) ptr R(?<reg>\d+)/,
    class: "invalid-context",
    cause: "modified",
  },
  { pattern: /^negative offset (?<type>\w+) ptr R(?<reg>\d+)/, class: "invalid-context", cause: "modified" },
  { pattern: /^variable (?<type>\w+) access var_off/, class: "invalid-context", cause: "variable" },
  { pattern: /^func '.*' doesn't have \d+-th argument/, class: "invalid-context", cause: "argument" },
  // Ranges.
  {
    pattern:
      /^invalid access to (?<what>map value|map key|memory), (\w+)_size=(?<limit>\d+) off=(?<at>-?\d+) size=(?<size>\d+)/,
    class: "missing-range",
    cause: "region",
  },
  {
    pattern: /^R(?<reg>\d+) (min|max) value is outside of the allowed memory range/,
    class: "missing-range",
    cause: "region",
  },
  {
    pattern: /^R(?<reg>\d+) unbounded memory access, make sure to bounds check/,
    class: "missing-range",
    cause: "unbounded",
  },
  {
    pattern: /^R(?<reg>\d+) min value is negative, either use unsigned index/,
    class: "missing-range",
    cause: "negative",
  },
  {
    pattern: /^R(?<reg>\d+) min value is negative, either use unsigned or/,
    class: "missing-range",
    cause: "negative_size",
  },
  {
    pattern: /^R(?<reg>\d+) unbounded memory access, use 'var &= const'/,
    class: "missing-range",
    cause: "unbounded_size",
  },
  { pattern: /^R(?<reg>\d+) invalid zero-sized read/, class: "missing-range", cause: "zero_size" },
  { pattern: /^R(?<reg>\d+) is not a known constant/, class: "missing-range", cause: "constant" },
  {
    pattern: /^math between map_value pointer and register with unbounded min value/,
    class: "missing-range",
    cause: "math",
  },
  { pattern: /^value -?\d+ makes map_value pointer be out of bounds/, class: "missing-range", cause: "math" },
  {
    pattern:
      /^math between (?<type>pkt|pkt_meta|mem|ctx|map_key|buf)\w* pointer and register with unbounded min value/,
    class: "missing-range",
    cause: "math",
  },
  { pattern: /^(math between|value -?\d+ makes) (?<type>fp) pointer/, class: "stack", cause: "math" },
  {
    pattern: /^math between (?<type>\w+) pointer and (register|-?\d+)/,
    class: "missing-range",
    cause: "math",
  },
  {
    pattern: /^value -?\d+ makes (?<type>\w+) pointer be out of bounds/,
    class: "missing-range",
    cause: "math",
  },
  { pattern: /^\w+ pointer offset -?\d+ is not allowed/, class: "missing-range", cause: "math" },
  { pattern: /^R(?<reg>\d+) invalid \w+ buffer access/, class: "missing-range", cause: "region" },
  // Pointers that became numbers.
  {
    pattern: /^R(?<reg>\d+) 32-bit pointer arithmetic prohibited/,
    class: "lost-provenance",
    cause: "arithmetic32",
  },
  { pattern: /^invalid size of register spill/, class: "lost-provenance", cause: "spill" },
  { pattern: /^invalid size of register fill/, class: "lost-provenance", cause: "fill" },
  { pattern: /^corrupted spill memory/, class: "lost-provenance", cause: "fill" },
  {
    pattern:
      /^R(?<reg>\d+) (bitwise operator \S+ on pointer prohibited|pointer arithmetic with \S+ operator prohibited)/,
    class: "lost-provenance",
    cause: "operator",
  },
  {
    pattern: /^R(?<reg>\d+) byte_swap|^R(?<reg2>\d+) pointer (\S+) pointer prohibited/,
    class: "invalid-pointer",
    cause: "two_pointers",
  },
  {
    pattern: /^R(?<reg>\d+) tried to subtract pointer from scalar/,
    class: "invalid-pointer",
    cause: "two_pointers",
  },
  {
    pattern: /^R(?<reg>\d+) (subtraction from stack pointer|tried to subtract from)/,
    class: "stack",
    cause: "math",
  },
  {
    pattern: /^R(?<reg>\d+) pointer arithmetic on (?<type>\w+) prohibited/,
    class: "invalid-pointer",
    cause: "arithmetic",
  },
  // Stack.
  {
    pattern: /^invalid read from stack R(?<reg>\d+) off -?\d+\+\d+ size \d+/,
    class: "uninitialised",
    cause: "helper_stack",
  },
  {
    pattern:
      /^invalid( indirect)? read from stack (R\d+ )?(var_)?off (?<off>-?\d+)\+(?<at>\d+) size (?<size>\d+)/,
    class: "uninitialised",
    cause: "stack",
  },
  { pattern: /^invalid read from stack R(?<reg>\d+) var_off/, class: "uninitialised", cause: "helper_stack" },
  {
    pattern:
      /^invalid (indirect )?(access|read|write|read from|write to)( from| to)? ?stack R(?<reg>\d+) off=(?<off>-?\d+) size=(?<size>-?\d+)/,
    class: "stack",
    cause: "bounds",
  },
  {
    pattern: /^invalid (unbounded )?variable-offset .*stack R(?<reg>\d+)/,
    class: "stack",
    cause: "variable",
  },
  {
    pattern: /^(R(?<reg>\d+) )?variable offset stack pointer cannot be passed/,
    class: "stack",
    cause: "variable",
  },
  {
    pattern: /^combined stack size of (?<frames>\d+) calls is (?<bytes>\d+)/,
    class: "stack",
    cause: "combined",
  },
  {
    pattern: /^stack size of subprog (?<subprogram>\d+) is (?<bytes>\d+)/,
    class: "stack",
    cause: "combined",
  },
  { pattern: /^the call stack of (?<frames>\d+) frames is too deep/, class: "stack", cause: "calls" },
  {
    pattern: /^tail_calls are not allowed when call stack of previous frames is (?<bytes>\d+)/,
    class: "stack",
    cause: "tail_call",
  },
  { pattern: /^cannot return stack pointer to the caller/, class: "stack", cause: "returned" },
  {
    pattern: /^cannot spill pointers to stack into stack frame of the caller/,
    class: "stack",
    cause: "escaped",
  },
  { pattern: /^frame pointer is read only/, class: "stack", cause: "frame_pointer" },
  { pattern: /^allocated_stack too small/, class: "stack", cause: "bounds" },
  { pattern: /^invalid zero-sized read$/, class: "missing-range", cause: "zero_size" },
  // Alignment.
  { pattern: /^misaligned (?<what>\w[\w ]*?)? ?access off/, class: "misaligned", cause: "access" },
  { pattern: /^kptr access misaligned/, class: "misaligned", cause: "access" },
  // What was never written.
  { pattern: /^R(?<reg>\d+) !read_ok/, class: "uninitialised", cause: "register" },
  // Return values.
  { pattern: /^(At|In) .*the register R(?<reg>\d+) (has|is|in)/, class: "return-value", cause: "range" },
  { pattern: /^R(?<reg>\d+) not a scalar value/, class: "return-value", cause: "pointer" },
  // References.
  {
    pattern: /^(BPF_EXIT instruction|tail_call|.*) would lead to reference leak/,
    class: "leaked-reference",
    cause: "exit",
  },
  {
    pattern: /^Unreleased reference id=(?<id>\d+) alloc_insn=(?<insn>\d+)/,
    class: "leaked-reference",
    cause: "exit",
  },
  { pattern: /^func .* reference has not been acquired before/, class: "use-after-release", cause: "twice" },
  {
    pattern: /^R(?<reg>\d+) must be referenced when passed to release function/,
    class: "use-after-release",
    cause: "not_owned",
  },
  {
    pattern: /^release (kernel function|kfunc) .* expects refcounted/,
    class: "use-after-release",
    cause: "not_owned",
  },
  {
    pattern: /^R(?<reg>\d+) must have zero offset when passed to release func/,
    class: "type-mismatch",
    cause: "offset",
  },
  // Loops and size.
  { pattern: /^infinite loop detected at insn (?<insn>\d+)/, class: "too-complex", cause: "infinite" },
  {
    pattern: /BPF program is too large\. Processed (?<count>\d+) insn/,
    class: "too-complex",
    cause: "instructions",
  },
  { pattern: /^The sequence of (?<count>\d+) jumps is too complex/, class: "too-complex", cause: "jumps" },
  { pattern: /^back-edge from insn (?<insn>\d+) to (?<to>\d+)/, class: "too-complex", cause: "infinite" },
  { pattern: /^too many subprograms/, class: "too-complex", cause: "instructions" },
  // Calls.
  {
    pattern: /^program of this type cannot use helper (?<name>\w+)#\d+/,
    class: "call-not-allowed",
    cause: "helper",
  },
  { pattern: /^unknown func (?<name>\w+)#(?<id>\d+)/, class: "call-not-allowed", cause: "helper" },
  { pattern: /^invalid func (?<name>\w+)#(?<id>\d+)/, class: "call-not-allowed", cause: "unknown" },
  { pattern: /^cannot call GPL-restricted function/, class: "call-not-allowed", cause: "licence" },
  {
    pattern: /^cannot call kernel function from non-GPL compatible program/,
    class: "call-not-allowed",
    cause: "licence",
  },
  { pattern: /^helper call might sleep in a non-sleepable prog/, class: "call-not-allowed", cause: "sleeps" },
  {
    pattern: /^program must be sleepable to call sleepable kfunc (?<name>\w+)/,
    class: "call-not-allowed",
    cause: "sleeps",
  },
  { pattern: /^helper call is not allowed in probe/, class: "call-not-allowed", cause: "target" },
  {
    pattern: /^calling kernel function (?<name>\w+) is not allowed/,
    class: "call-not-allowed",
    cause: "kfunc",
  },
  { pattern: /^(kernel|calling invalid kernel) function/, class: "call-not-allowed", cause: "kfunc" },
  {
    pattern: /^(Syscall programs can only be sleepable|Only fentry\/fexit)/,
    class: "type-mismatch",
    cause: "sleepable",
  },
  {
    pattern: /^BPF_LD_\[ABS\|IND\] instructions not allowed for this program type/,
    class: "call-not-allowed",
    cause: "legacy",
  },
  // Read-only.
  { pattern: /^R(?<reg>\d+) cannot write into (?<type>\w+)/, class: "read-only", cause: "memory" },
  {
    pattern: /^bpf_\w+\(\) may write into memory pointed by R(?<reg>\d+)/,
    class: "read-only",
    cause: "memory",
  },
  { pattern: /^write into map forbidden/, class: "read-only", cause: "map" },
  { pattern: /^read from map forbidden/, class: "read-only", cause: "map_read" },
  { pattern: /^write to change key R(?<reg>\d+) not allowed/, class: "read-only", cause: "memory" },
  {
    pattern: /^(only read is supported|write access to .* is not allowed)/,
    class: "read-only",
    cause: "memory",
  },
  // Before what names locks and objects in general.
  { pattern: /cannot be accessed directly by load\/store/, class: "invalid-pointer", cause: "special_field" },
  { pattern: /^direct access to \w+ is disallowed/, class: "invalid-pointer", cause: "special_field" },
  { pattern: /^store to referenced kptr disallowed/, class: "invalid-pointer", cause: "special_field" },
  { pattern: /progs cannot use bpf_/, class: "type-mismatch", cause: "map_program" },
  { pattern: /must be held for/, class: "context-region", cause: "held" },
  { pattern: /requires RCU critical section|expected an RCU CS/, class: "context-region", cause: "rcu" },
  {
    pattern: /(not allowed in rbtree cb|in rbtree cb$|cannot be called from callback)/,
    class: "context-region",
    cause: "callback",
  },
  {
    pattern:
      /(doesn't point to 'struct \w+'|has no valid bpf_\w+|not found at offset|^operation on bpf_\w+ expects)/,
    class: "type-mismatch",
    cause: "argument_other",
  },
  {
    pattern:
      /(invalid kptr access|isn't referenced kptr|has no valid kptr|isn't map pointer|map_uid=\d+ doesn't match)/,
    class: "type-mismatch",
    cause: "argument_other",
  },
  {
    pattern:
      /(type ID argument|^local type ID|can only take non-owning|get_local_storage\(\) doesn't support)/,
    class: "type-mismatch",
    cause: "argument_other",
  },
  {
    pattern: /^R(?<reg>\d+) (must be a known constant|doesn't have constant offset)/,
    class: "missing-range",
    cause: "constant",
  },
  { pattern: /^R(?<reg>\d+) invalid variable buffer offset/, class: "missing-range", cause: "constant" },
  {
    pattern: /^(access beyond|R(?<reg>\d+) is \w+ invalid negative access)/,
    class: "untrusted-pointer",
    cause: "field",
  },
  { pattern: /^(no write support to|only read from \w+ is supported)/, class: "read-only", cause: "memory" },
  { pattern: /^the prog does not allow writes to packet data/, class: "read-only", cause: "packet" },
  {
    pattern: /(invalid kernel function call not eliminated|is only allowed in|^attach to unsupported member)/,
    class: "call-not-allowed",
    cause: "target",
  },
  {
    pattern: /(cannot call exception cb directly|multiple exception callback)/,
    class: "malformed",
    cause: "information",
  },
  // Regions.
  {
    pattern: /^function calls are not allowed while holding a lock/,
    class: "context-region",
    cause: "lock_call",
  },
  {
    pattern: /^sleepable (helper|kfunc|kernel func) (?<name>\S+) (in|within) (?<region>[\w-]+)/,
    class: "context-region",
    cause: "sleep",
  },
  {
    pattern: /^kernel func (?<name>\w+) is sleepable within (?<region>[\w-]+)/,
    class: "context-region",
    cause: "sleep",
  },
  {
    pattern: /(cannot be used inside|inside) (?<region>bpf_\w+|\S+) region/,
    class: "context-region",
    cause: "exit",
  },
  {
    pattern: /(spin_lock|spin_unlock|rcu_read_|preempt_|irq|unlock|lock)/i,
    class: "context-region",
    cause: "other",
  },
  // Arguments: before what names trusted pointers among those that are expected.
  {
    pattern: /^R(?<reg>\d+) type=(?<type>\w+) expected=(?<expected>.*)/,
    class: "type-mismatch",
    cause: "argument",
  },
  { pattern: /^expected prog array map for tail call/, class: "type-mismatch", cause: "tail_call" },
  // Kernel pointers and objects.
  {
    pattern: /^R(?<reg>\d+) (must be|is not|should be).*(rcu|trusted|referenced)/,
    class: "untrusted-pointer",
    cause: "argument",
  },
  {
    pattern: /^(arg#\d+|R(?<reg>\d+)).*(untrusted|trusted|must be referenced)/,
    class: "untrusted-pointer",
    cause: "argument",
  },
  {
    pattern: /^(access beyond struct|R(?<reg>\d+) is ptr_\w* (invalid negative|access))/,
    class: "untrusted-pointer",
    cause: "field",
  },
  { pattern: /^arg \d+ is an unacquired reference/, class: "object-state", cause: "object" },
  { pattern: /(dynptr|iter_|iterator)/, class: "object-state", cause: "object" },
  // Types.
  {
    pattern: /^cannot pass map_type (?<map>\d+) into func (?<name>\w+)#\d+/,
    class: "type-mismatch",
    cause: "map",
  },
  { pattern: /^cannot update sockmap in this context/, class: "type-mismatch", cause: "map" },
  {
    pattern:
      /^(Sleepable programs can only use|bpf_struct_ops map cannot|.* programs cannot use|tracing progs cannot use)/,
    class: "type-mismatch",
    cause: "map_program",
  },
  {
    pattern: /^(Caller passes invalid args into func#|arg#\d+|R(?<reg>\d+) .*expected)/,
    class: "type-mismatch",
    cause: "function",
  },
  {
    pattern: /^same insn cannot be used with different pointers/,
    class: "type-mismatch",
    cause: "two_types",
  },
  {
    pattern:
      /^(no direct value access support for this map type|R(?<reg>\d+) does not point to a readonly map|R(?<reg2>\d+) is not a constant address|string is not zero-terminated|Invalid format string|invalid arg_type for sockmap|invalid map_ptr)/,
    class: "type-mismatch",
    cause: "argument_other",
  },
  {
    pattern: /^BPF_ATOMIC (loads|stores) (from|into) R(?<reg>\d+)/,
    class: "invalid-pointer",
    cause: "atomic",
  },
  { pattern: /cannot be accessed directly by load\/store/, class: "invalid-pointer", cause: "special_field" },
  { pattern: /^kptr (access|cannot)/, class: "invalid-pointer", cause: "special_field" },
  {
    pattern: /^invalid access to flow keys|^R(?<reg>\d+) invalid \w+ access off=/,
    class: "invalid-context",
    cause: "object",
  },
  // The pointer is none: what it was before decides (`classify.ts`).
  { pattern: /^R(?<reg>\d+) invalid mem access '(?<type>\w+)'/, class: "invalid-pointer", cause: "access" },
  // Malformed programs.
  {
    pattern:
      /^(unreachable insn (?<insn>\d+)|jump (out of range|into the middle of ldimm64) |last insn is not an exit)/,
    class: "malformed",
    cause: "flow",
  },
  {
    pattern:
      /(uses reserved fields|unknown opcode|invalid BPF_|invalid may_goto|invalid shift|div by zero|invalid atomic|unrecognized bpf_ld_imm64|invalid bpf_ld_imm64|call to invalid destination|R\d+ is invalid|invalid insn)/,
    class: "malformed",
    cause: "instruction",
  },
  {
    pattern:
      /(func_info|line_info|missing bpf_line_info|type id|callback function not static|missing btf|subprogs without BTF|LD_ABS is only|fd \d+ is not pointing)/,
    class: "malformed",
    cause: "information",
  },
];
