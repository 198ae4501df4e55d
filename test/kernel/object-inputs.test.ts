/**
 * Inputs of the types whose contexts lead to structures of the kernel, here and in its test runs: packets at the hooks of netfilter, methods of
 * bpf_dummy_ops. SKEP_INPUTS=500 sets the number for each, SKEP_SEED others.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { sizeOf } from "../../src/btf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { hookOf } from "../../src/hooks/index.ts";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { eth } from "../../src/packet/index.ts";
import { ROOT } from "../helpers.ts";
import { kernelTypes } from "../machine/kernel-types.ts";
import { SEED, fieldProgram } from "./field-program.ts";
import { inKernel, inMachines, seedValue } from "./field-sides.ts";
import { Random } from "./random-input.ts";
import { noKernel, openDescriptors, withKernel } from "./setup.ts";

const COUNT = Number(process.env["SKEP_INPUTS"] ?? 40);
const FIRST = Number(process.env["SKEP_SEED"] ?? 0);
const NOTHING = noKernel ?? (kernelTypes === undefined ? "the kernel shows no types" : undefined);
const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes as Uint8Array).toString("hex");

const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;
const LOCAL_OUT = 3;
const ETHERNET_HEADER = 14;

describe.skipIf(NOTHING !== undefined)(withKernel("inputs with structures of the kernel"), () => {
  const btf = kernelTypes!;
  afterAll(() => expect(openDescriptors()).toEqual([]));

  it("netfilter", { timeout: 120_000 }, async () => {
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/netfilter.bpf.o")), {
      name: "netfilter",
    });
    const [state] = btf.find("nf_hook_state", "struct");
    using kernel = await KernelMachine.create();
    const real = kernel.load(spec);
    const machines = await Promise.all(
      ENGINES.map(async (engine) => {
        const machine = await Machine.create({ engine, btf });
        const device = machine.alloc("net_device", { ifindex: 1 });
        return { device, ...(await machine.load(spec)) };
      }),
    );
    const random = new Random(FIRST + 1);
    const zero = new Uint8Array(4);
    let compared = 0;
    for (let round = 0; round < COUNT; round++) {
      const six = random.below(2) === 0;
      const hook = random.below(5);
      const layers = six ? eth().ipv6({ src: "fd00::1" }) : eth().ipv4({ src: "10.0.0.1" });
      const whole = random
        .pick([() => layers.tcp({ dport: 80 }), () => layers.udp({ dport: 53 }), () => layers])()
        .payload(random.below(200))
        .bytes();
      const frame = random.below(5) === 0 ? whole.subarray(0, 20 + random.below(whole.length - 19)) : whole;
      const packet = frame.subarray(ETHERNET_HEADER);
      // Without a context the kernel means a packet of IPv4 that goes out.
      const bare = hook === LOCAL_OUT && !six && random.below(2) === 0;
      const context = new Uint8Array(sizeOf(btf, state!.id));
      context[0] = hook;
      context[1] = six ? NFPROTO_IPV6 : NFPROTO_IPV4;
      const globals = new Uint8Array(spec.maps[".bss"]!.valueSize);
      const { offset, byte, verdict } = spec.variables as Record<string, { offset: number }>;
      const view = new DataView(globals.buffer);
      view.setUint32(
        offset!.offset,
        random.pick([0, 1, 9, 40, packet.length - 1, packet.length, random.below(300)]),
        true,
      );
      view.setUint32(byte!.offset, random.below(256), true);
      view.setUint32(verdict!.offset, random.below(2), true);
      real.maps[".bss"]!.update(zero, globals);
      let result: { readonly returnValue: number };
      try {
        result = real.programs["look"]!.raw.testRun({
          data: hook === LOCAL_OUT ? packet : frame,
          ...(bare ? {} : { context, contextSize: 0 }),
        });
      } catch (error) {
        if (error instanceof BpfError && (error.errno === "EINVAL" || error.errno === "EPROTO")) continue;
        throw error;
      }
      compared++;
      const there = { result: result.returnValue, seen: hex(real.maps[".bss"]!.lookup(zero)) };
      for (const { device, programs, maps } of machines) {
        maps[".bss"]!.update(zero, globals);
        // A test run looks at the hook that it would have chosen itself: what goes out has a device, whatever the hook. Nobody has looked
        // for headers that the stack would know.
        const args = {
          state: { in: null, out: bare ? null : device },
          skb: { transport_header: 0xffff, ...(hook === LOCAL_OUT ? { network_header: 0 } : {}) },
        };
        const { returnValue } = programs["look"]!.run({ packet, hook, args });
        expect({ hook, result: returnValue, seen: hex(maps[".bss"]!.lookup(zero)) }).toEqual({
          hook,
          ...there,
        });
      }
    }
    expect(compared).toBeGreaterThan(COUNT / 3);
  });

  it("struct_ops: a method of bpf_dummy_ops", { timeout: 120_000 }, async () => {
    const [ops] = btf.find("bpf_dummy_ops", "struct");
    if (ops === undefined) return;
    // int test_2(struct bpf_dummy_ops_state *cb, int a1, unsigned short a2, char a3, unsigned long a4).
    const method = 1;
    const program = fieldProgram(hookOf("struct_ops"), undefined, {
      direct: true,
      more(save, line) {
        line(`r8 = *(u64 *)(r6 + 0)`);
        save("state", "w1 = *(u32 *)(r8 + 0)");
        line(`r1 = *(u64 *)(r7 + ${SEED + 8})\n*(u32 *)(r8 + 0) = w1`);
        save("state written", "r1 = *(s32 *)(r8 + 0)");
        for (const offset of [8, 16, 24, 32]) save(`argument at ${offset}`, `r1 = *(u64 *)(r6 + ${offset})`);
      },
    });
    const target = {
      type: "struct_ops",
      attachBtfId: ops.id,
      member: method,
      interface: "bpf_dummy_ops",
      verifier: { kernelBtf: btf, structOps: { struct: ops.id, member: method } },
    } as const;
    using kernel = await KernelMachine.create();
    const there = inKernel(kernel.kernel, program, target);
    const here = await inMachines(program, target);
    const random = new Random(FIRST + 7);
    for (let round = 0; round < COUNT; round++) {
      const seed = seedValue(random);
      const value = random.word();
      const state = new Uint8Array(Uint32Array.of(value).buffer);
      const args = Array.from({ length: 4 }, () => random.wide());
      const context = new Uint8Array(BigUint64Array.of(kernel.kernel.address(state), ...args).buffer);
      const expected = there.run(seed, { context });
      for (const one of here) {
        const object = one.machine.alloc("bpf_dummy_ops_state", { val: value | 0 });
        const { run, words } = one.run(seed, { args: [object, ...args] });
        expect({ ...words, returned: run.returnValue >>> 0, state: object.bytes() }).toEqual({
          ...expected.words,
          returned: expected.returnValue,
          state,
        });
      }
    }
  });
});
