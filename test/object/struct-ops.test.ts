/** struct_ops in a kernel's terms: as libbpf says that it does it, and what cannot be done. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Btf, type BtfSource, encodeBtf, parseBtf } from "../../src/btf/index.ts";
import { kernelStructOps, type MapSpec, parseObject } from "../../src/object/index.ts";
import { hasTool, needs, ROOT } from "../helpers.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const PATH = join(ROOT, "test/fixtures/btf/struct-ops.bpf.o");
const spec = parseObject(readFileSync(PATH), { name: "struct-ops.bpf.o" });
const map = spec.maps["skep_cc"] as MapSpec;

const SCRIPT = 'mount -t bpf bpf /sys/fs/bpf && bpftool -d prog loadall "$0" /sys/fs/bpf/skep';
const ready = hasTool("bpftool", "version") && hasTool("unshare") && existsSync(VMLINUX);

describe.skipIf(!ready)(needs("as libbpf", ready, "bpftool, unshare or kernel BTF"), () => {
  it("moves the same members to the same places", () => {
    const { stdout, stderr } = spawnSync("unshare", ["-m", "sh", "-c", SCRIPT, PATH], { encoding: "utf8" });
    const said = stdout + stderr;
    const target = parseBtf(readFileSync(VMLINUX), { name: "vmlinux" });
    const { valueType, value, members } = kernelStructOps(spec, map, target);
    const types = /kern_type_id:(\d+) kern_vtype_id:(\d+)/.exec(said);
    expect([members[0]?.attachType, valueType]).toEqual(types?.slice(1).map(Number));
    const base = target.find("bpf_struct_ops_tcp_congestion_ops", "struct")[0];
    const data = base?.kind === "struct" ? base.members.find(({ name }) => name === "data") : undefined;
    const start = (data?.bitOffset ?? 0) / 8;
    const functions = [
      ...said.matchAll(/func ptr (\w+) is set to prog (\w+) from data\(\+\d+\) to kern_data\(\+(\d+)\)/g),
    ];
    expect(members.map(({ name, program, offset }) => [name, program, offset - start])).toEqual(
      functions.map(([, name, program, offset]) => [name, program, Number(offset)]),
    );
    const copies = [...said.matchAll(/copy \w+ (\d+) bytes from data\(\+(\d+)\) to kern_data\(\+(\d+)\)/g)];
    const expected = new Uint8Array(value.length);
    for (const [, size, from, to] of copies) {
      const bytes = map.contents?.subarray(Number(from), Number(from) + Number(size)) ?? [];
      expected.set(bytes, start + Number(to));
    }
    expect(copies.length).toBe(2);
    expect(value).toEqual(expected);
  });
});

/** A kernel whose `struct tcp_congestion_ops` has the given members (name, type id, offset in bytes). */
function kernel(members: readonly (readonly [string, number, number])[], value = "tcp_congestion_ops"): Btf {
  const int = {
    kind: "int",
    name: "int",
    size: 4,
    bits: 32,
    bitOffset: 0,
    signed: true,
    char: false,
    bool: false,
  };
  const row = ([name, type, offset]: readonly [string, number, number]) => ({
    name,
    type,
    bitOffset: offset * 8,
    bitSize: 0,
  });
  const types = [
    int,
    { kind: "func_proto", parameters: [], type: 1 },
    { kind: "ptr", type: 2 },
    { kind: "array", type: 1, index: 1, length: 4 },
    { kind: "struct", name: "tcp_congestion_ops", size: 64, members: members.map(row) },
    { kind: "struct", name: `bpf_struct_ops_${value}`, size: 128, members: [row(["data", 5, 64])] },
  ] as unknown as BtfSource[];
  return parseBtf(encodeBtf(types).bytes, { name: "kernel" });
}

describe("kernels", () => {
  const all = [
    ["ssthresh", 3, 0],
    ["name", 4, 8],
    ["flags", 1, 24],
    ["cong_avoid", 3, 40],
    ["undo_cwnd", 3, 32],
  ] as const;

  it("has members elsewhere", () => {
    const { value, members } = kernelStructOps(spec, map, kernel(all));
    expect(members.map(({ name, offset, index }) => [name, offset, index])).toEqual([
      ["ssthresh", 64, 0],
      ["cong_avoid", 104, 3],
      ["undo_cwnd", 96, 4],
    ]);
    expect(String.fromCharCode(...value.subarray(72, 76))).toBe("skep");
    expect(value[88]).toBe(5);
  });

  it.each([
    [
      "no such struct_ops",
      kernel(all, "other"),
      /^map 'skep_cc': struct bpf_struct_ops_tcp_congestion_ops is/,
    ],
    [
      "a value that is missing",
      kernel(all.filter(([name]) => name !== "flags")),
      /its member 'flags' is set/,
    ],
    ["a function that is missing", kernel(all.slice(1)), /its member 'ssthresh' is set/],
    [
      "another size",
      kernel([...all.filter(([name]) => name !== "name"), ["name", 1, 8]]),
      /'name' is of kind array, in the kernel of kind int/,
    ],
  ])("%s", (_, target, message) => {
    expect(() => kernelStructOps(spec, map, target)).toThrow(message);
  });
});
