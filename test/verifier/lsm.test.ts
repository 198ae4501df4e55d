/**
 * LSM hooks by name. The kernel here does not load LSM programs, so the rows follow kernel/bpf/bpf_lsm.c and check_return_code; hooks and prototypes
 * are those of the running kernel's BTF.
 */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { parseBtf } from "../../src/btf/index.ts";
import { reasonOf, verify } from "../../src/verifier/index.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const missing = existsSync(VMLINUX) ? undefined : `no ${VMLINUX}`;
const kernelBtf = missing === undefined ? parseBtf(readFileSync(VMLINUX), { name: "vmlinux" }) : undefined;

interface Row {
  readonly name: string;
  readonly hook: string;
  readonly text?: string;
  readonly cgroup?: boolean;
  readonly sleepable?: boolean;
  readonly license?: string;
  /** "": accepted. */
  readonly says: string;
}

const ROWS: readonly Row[] = [
  { name: "a hook that may be asked", hook: "file_open", says: "" },
  { name: "an errno negated", hook: "file_open", text: "r0 = -1\nexit", says: "" },
  {
    name: "an answer that is none",
    hook: "file_open",
    text: "r0 = 1\nexit",
    says: "EINVAL At program exit the register R0 has smin=1 smax=1 should have been in [-4095, 0]",
  },
  { name: "yes or no", hook: "inode_xattr_skipcap", text: "r0 = 1\nexit", says: "" },
  {
    name: "an errno where yes or no is wanted",
    hook: "inode_xattr_skipcap",
    text: "r0 = -1\nexit",
    says: "EINVAL At program exit the register R0 has smin=-1 smax=-1 should have been in [0, 1]",
  },
  { name: "a hook that answers nothing", hook: "inode_free_security", text: "exit", says: "" },
  {
    name: "a hook with another answer",
    hook: "vm_enough_memory",
    says: "points to disabled hook bpf_lsm_vm_enough_memory",
  },
  {
    name: "a function that is no hook",
    hook: "verify_prog",
    says: "points to wrong type name bpf_lsm_verify_prog",
  },
  {
    name: "a licence that is not the GPL's",
    hook: "file_open",
    license: "MIT",
    says: "EINVAL LSM programs must have a GPL compatible license",
  },
  { name: "a hook that may sleep", hook: "file_open", sleepable: true, says: "" },
  {
    name: "a hook that may not sleep",
    hook: "file_alloc_security",
    sleepable: true,
    says: "EINVAL bpf_lsm_file_alloc_security is not sleepable",
  },
  { name: "of a control group, yes", hook: "socket_bind", cgroup: true, text: "r0 = 1\nexit", says: "" },
  {
    name: "of a control group, neither yes nor no",
    hook: "socket_bind",
    cgroup: true,
    text: "r0 = 2\nexit",
    says: "EINVAL At program exit the register R0 has smin=2 smax=2 should have been in [0, 1]",
  },
  {
    name: "of a control group, no where nobody asks",
    hook: "sock_graft",
    cgroup: true,
    says: "EINVAL Note, BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!",
  },
  {
    name: "of a control group, where nobody asks",
    hook: "sock_graft",
    cgroup: true,
    text: "r0 = 1\nexit",
    says: "",
  },
  {
    name: "of a control group, another answer where nobody asks",
    hook: "sock_graft",
    cgroup: true,
    text: "r1 = 0\ncall 187\nr0 = 1\nexit",
    says: "EINVAL BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!",
  },
  {
    name: "socket options where the socket is not held",
    hook: "socket_bind",
    cgroup: true,
    text: "call 49\nr0 = 1\nexit",
    says: "EINVAL program of this type cannot use helper bpf_setsockopt#49",
  },
  {
    name: "socket options where it is",
    hook: "sock_graft",
    cgroup: true,
    text: "r1 = 0\nr2 = 0\nr3 = 0\nr4 = 0\nr5 = 0\ncall 49\nr0 = 1\nexit",
    says: "EACCES R1 type=scalar expected=",
  },
];

describe.skipIf(missing !== undefined)(
  `LSM programs${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    test.each(ROWS)("$name", ({ hook, text = "r0 = 0\nexit", cgroup, sleepable, license, says }) => {
      const { accepted, errno, log } = verify({
        name: "row",
        type: "lsm",
        attachType: cgroup === true ? "lsm_cgroup" : "lsm_mac",
        attachTo: hook,
        instructions: assemble(text).instructions,
        maps: new Map(),
        license: license ?? "GPL",
        sleepable: sleepable ?? false,
        kernelBtf,
      });
      const said = accepted ? "" : `${errno} ${reasonOf(log)}`;
      if (says === "") expect(said).toBe("");
      else expect(said).toContain(says);
    });
  },
);
