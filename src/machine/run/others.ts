/** Contexts of what is left: infrared, programs for system calls. */
import { encodeValue, resolve } from "../../btf/index.ts";
import { contextTemplate } from "../../hooks/index.ts";
import { BpfError } from "../../errors.ts";
import { type ObjectValue, lowerValue } from "../objects/index.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

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
