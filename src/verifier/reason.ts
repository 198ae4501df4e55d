/** What a log says in one line. */

/** Lines that say how much work the verifier had, or in which state it was, rather than what is wrong. */
const STATISTICS =
  /^(processed \d+ insns|verification time|stack depth|max_states|peak_states|mark_read|insn_history|total_states|cur state:|old state:)/;

/** What the verifier adds to "infinite loop detected". */
const STATES = /^(cur|old) state:/;

/** The last line of a log that is about the program: the reason when it was rejected. */
export function reasonOf(log: string): string {
  const lines = log
    .split("\n")
    .filter((line) => line.trim() !== "" && !STATISTICS.test(line) && !STATES.test(line));
  // This complaint may stand on the line of the instruction at which the patience ended.
  return (lines.at(-1)?.trim() ?? "")
    .replace(/^.*(?=BPF program is too large)/, "")
    .replace(/(verification time \d+ usec|processed \d+ insns .*)$/, "");
}
