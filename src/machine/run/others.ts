/** Contexts of what is left: infrared, programs for system calls, netfilter. */
import { encodeValue, resolve } from "../../btf/index.ts";
import { contextTemplate } from "../../hooks/index.ts";
import { BpfError } from "../../errors.ts";
import { type ObjectValue, allocateObject, lowerValue } from "../objects/index.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";
import { bytesOf, setPointer } from "./sockets.ts";

// uapi/linux/lirc.h: the kind of sample is in the upper byte.
const LIRC_PULSE = 0x01000000;
const LIRC_TIMEOUT = 0x03000000;
const LIRC_VALUE = 0x00ffffff;

export const LIRC: Arranger = {
  takes: ["pulse", "space", "timeout"],
  arrange(subject, { pulse, space = 0, timeout, context }): Arrangement {
    const sample =
      pulse !== undefined
        ? LIRC_PULSE | (pulse & LIRC_VALUE)
        : timeout !== undefined
          ? LIRC_TIMEOUT | (timeout & LIRC_VALUE)
          : space & LIRC_VALUE;
    return { context: contextTemplate(subject.hook, { sample, ...context }) };
  },
};

export const SYSCALL: Arranger = {
  takes: ["argument"],
  arrange(subject, { argument = new Uint8Array(0) }): Arrangement {
    const context = argument instanceof Uint8Array ? argument.slice() : typedArgument(subject, argument);
    return { context, result: (after) => ({ argument: after.slice(0, context.length) }) };
  },
};

/** A value of the type that the program's parameter points to. */
function typedArgument(subject: Subject, value: ObjectValue): Uint8Array {
  const { image, scratch } = subject;
  const btf = image.ownTypes;
  const [func] = btf?.find(image.name, "func") ?? [];
  const prototype = btf !== undefined && func?.kind === "func" ? btf.type(func.type) : undefined;
  const [parameter] = prototype?.kind === "func_proto" ? prototype.parameters : [];
  const pointer = btf !== undefined && parameter !== undefined ? resolve(btf, parameter.type) : undefined;
  if (btf === undefined || pointer?.kind !== "ptr" || resolve(btf, pointer.type).kind === "void") {
    throw new BpfError(
      "context",
      `program '${subject.name}': the type of its argument is not known: give it as bytes`,
    );
  }
  return encodeValue(btf, pointer.type, lowerValue(scratch.memory, btf, pointer.type, value, scratch.parts));
}

/** enum nf_inet_hooks. */
const NETFILTER_HOOKS = ["PRE_ROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POST_ROUTING"] as const;
const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;
const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
/** Room before a packet, as alloc_skb leaves it. */
const HEADROOM = 64;

export const NETFILTER: Arranger = {
  takes: ["hook", "data", "args"],
  arrange(subject, { hook = "LOCAL_IN", data, args = {} }): Arrangement {
    const number =
      typeof hook === "number"
        ? hook
        : NETFILTER_HOOKS.findIndex((name) => name === hook.replace(/^NF_INET_/, ""));
    if (number < 0) {
      throw new BpfError(
        "context",
        `program '${subject.name}': no hook '${hook}'; there are ${NETFILTER_HOOKS.join(", ")}`,
      );
    }
    const { scratch, types } = subject;
    const packet = bytesOf(data);
    const head = scratch.room(HEADROOM + packet.length + 320);
    scratch.memory.write(head + HEADROOM, packet);
    const six = (packet[0] ?? 0x40) >> 4 === 6;
    const given = Array.isArray(args)
      ? {}
      : (args as Readonly<Record<string, Readonly<Record<string, never>>>>);
    const skb = allocateObject(scratch.memory, types, "sk_buff", {
      len: packet.length,
      head,
      data: head + HEADROOM,
      tail: HEADROOM + packet.length,
      end: HEADROOM + packet.length,
      network_header: HEADROOM,
      transport_header: HEADROOM + (six ? 40 : ((packet[0] ?? 0x45) & 15) * 4),
      protocol: six ? ETH_P_IPV6 : ETH_P_IP,
      ...given["skb"],
    });
    const state = allocateObject(scratch.memory, types, "nf_hook_state", {
      hook: number,
      pf: six ? NFPROTO_IPV6 : NFPROTO_IPV4,
      ...given["state"],
    });
    scratch.adopt(skb);
    scratch.adopt(state);
    const context = new Uint8Array(16);
    setPointer(context, 0, state.address);
    setPointer(context, 8, skb.address);
    return { context };
  },
};
