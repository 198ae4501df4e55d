/** Extensions (freplace). No kernel here loads them, so the rows follow the source of Linux: bpf_check_attach_target, btf_check_func_type_match. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseObject } from "../../src/object/index.ts";
import { verifyObject } from "../../src/verifier/index.ts";

const FOLDER = "test/fixtures/extension";
const read = (name: string) =>
  parseObject(readFileSync(`${FOLDER}/${name}.bpf.o`), { name: `${name}.bpf.o` });
const target = read("target");
const replacements = read("replacements");

/** What is said of each program; "": accepted. */
const SAID: Readonly<Record<string, string>> = {
  good: "",
  changes_packet: "",
  of_the_entry: "",
  of_a_structure: "",
  must_not_change_packet: "EINVAL Extension program changes packet data, while original does not",
  too_few_arguments: "EINVAL too_few_arguments() has 1 args while classify() has 2 args",
  another_size: "EINVAL arg1 in another_size() has size 8 while classify() has 4",
  another_context: "EINVAL arg0 another_context(struct __sk_buff *) doesn't match classify(struct xdp_md *)",
  another_width: "",
  not_global: "EINVAL hidden() is not a global function",
  no_such_function: "EINVAL Subprog nothing doesn't exist",
  packet_unchecked: "EACCES R1 offset is outside of the packet",
  wrong_helper: "EINVAL program of this type cannot use helper bpf_get_socket_uid#47",
  structure_unchecked: "EACCES R1 invalid mem access 'mem_or_null'",
};

describe("an extension", () => {
  test.each(Object.keys(replacements.programs))("%s", (name) => {
    const { verdict, errno, reason } = verifyObject(replacements, name, { extends: target });
    expect(verdict === "accepted" ? "" : `${errno} ${reason}`).toContain(SAID[name] ?? "?");
    expect(verdict === "accepted").toBe(SAID[name] === "");
  });

  test("is walked as a function with the arguments that its types say", () => {
    const { log } = verifyObject(replacements, "good", { extends: target, logLevel: 2 });
    expect(log).toContain("Validating good() func#0...\n");
    expect(log).toContain("R1=ctx() R2=scalar()");
  });

  test("without the program that it extends is unknown", () => {
    const { verdict, reason } = verifyObject(replacements, "good");
    expect(verdict).toBe("unknown");
    expect(reason).toContain("extensions without the program that they extend");
  });

  test("of an extension is refused, and of a program that is not accepted unknown", () => {
    const { verdict, reason } = verifyObject(replacements, "good", { extends: replacements });
    expect(`${verdict} ${reason}`).toContain("unknown extensions of a program that is not accepted itself");
  });

  test("needs CAP_NET_ADMIN and CAP_PERFMON", () => {
    const { errno, reason } = verifyObject(replacements, "good", {
      extends: target,
      capabilities: ["bpf", "net_admin"],
    });
    expect(`${errno} ${reason}`).toBe("EPERM ext programs need CAP_PERFMON");
  });
});
