/**
 * Extensions (freplace): a program that takes the place of a global function of another one (bpf_check_attach_target,
 * btf_check_func_type_match of kernel/bpf/). It is verified as a program of the type that it extends, with the arguments that its
 * BTF declares, and these must be those of the function that it replaces, since nobody looks at the callers again.
 */
import { type Btf, type BtfType, resolve } from "../btf/index.ts";
import { hookOf } from "../hooks/index.ts";
import type { AttachType } from "../uapi/index.ts";
import { kindText } from "./calls/kfunc-kinds.ts";
import type { Environment, Subprogram } from "./environment.ts";

/** What is known of a function of a program that was accepted. */
export interface FunctionFacts {
  readonly name: string;
  /** Its type in the BTF of the program. */
  readonly type: number;
  /** Its BTF cannot be believed: a static function, or one that is called with other arguments. */
  readonly unreliable: boolean;
  readonly changesPacketData: boolean;
  readonly mightSleep: boolean;
  readonly isExceptionCallback: boolean;
}

export function factsOf(env: Environment): readonly FunctionFacts[] {
  return (env.program.functionInfo ?? []).map(({ type }, number) => {
    const subprogram = env.subprograms[number] as Subprogram;
    const { unreliable, changesPacketData, mightSleep, isExceptionCallback } = subprogram;
    return {
      name: env.program.btf?.type(type).name ?? "",
      type,
      unreliable,
      changesPacketData,
      mightSleep,
      isExceptionCallback,
    };
  });
}

/** The program that is extended; undefined facts: it is not accepted itself. */
export interface Extended {
  readonly type: Environment["type"];
  readonly attachType: AttachType | undefined;
  readonly btf: Btf | undefined;
  readonly facts: readonly FunctionFacts[] | undefined;
}

/** Whether the program may replace the function that it names. */
export function checkExtension(env: Environment, { type, attachType, btf, facts }: Extended): void {
  const { attachTo = "", functionInfo = [], btf: own } = env.program;
  if (facts === undefined) {
    throw env.unsupported(`extensions of a program that is not accepted itself`);
  }
  const refuse = (message: string): unknown => env.reject("EINVAL", message);
  const found = facts.find(({ name }) => name === attachTo);
  if (btf === undefined || found === undefined) throw refuse(`Subprog ${attachTo} doesn't exist`);
  if (found.isExceptionCallback) throw refuse("Extension programs cannot attach to exception callback");
  if (found.unreliable) throw refuse("Cannot replace static functions");
  const main = env.subprograms[0] as Subprogram;
  if (main.changesPacketData && !found.changesPacketData) {
    throw refuse("Extension program changes packet data, while original does not");
  }
  if (main.mightSleep && !found.mightSleep) {
    throw refuse("Extension program may sleep, while original does not");
  }
  // Chains of extensions, and of extensions and traces, could become circles.
  if (type === "ext") throw refuse("Cannot recursively attach");
  if (attachType === "trace_fentry" || attachType === "trace_fexit") {
    throw refuse("Cannot extend fentry/fexit");
  }
  if (hookOf(type).context.arguments === true) throw env.unsupported(`extensions of ${type} programs`);
  const info = functionInfo[0];
  if (info === undefined || own === undefined) throw refuse("Program extension requires BTF");
  const wrong = mismatch(own, info.type, btf, found.type);
  if (wrong !== undefined) throw refuse(wrong);
}

/** Kind and number of members: what of a type must be the same (`info` of struct btf_type). */
function shape(type: BtfType): string {
  let members = 0;
  if (type.kind === "struct" || type.kind === "union") members = type.members.length;
  else if (type.kind === "enum" || type.kind === "enum64") {
    return `${type.kind} ${type.values.length} ${type.signed}`;
  } else if (type.kind === "func_proto") members = type.parameters.length;
  return `${type.kind} ${members}`;
}

/** Why the types of two functions do not match; undefined if they do. */
function mismatch(own: Btf, ownId: number, theirs: Btf, theirId: number): string | undefined {
  const mine = own.type(ownId);
  const other = theirs.type(theirId);
  if (mine.kind !== "func" || other.kind !== "func") return "Program extension requires BTF";
  for (const func of [mine, other]) {
    if (func.linkage !== "global") return `${func.name}() is not a global function`;
  }
  const a = own.type(mine.type);
  const b = theirs.type(other.type);
  if (a.kind !== "func_proto" || b.kind !== "func_proto") return "Program extension requires BTF";
  const counts = [a.parameters.length, b.parameters.length] as const;
  if (counts[0] !== counts[1]) {
    return `${mine.name}() has ${counts[0]} args while ${other.name}() has ${counts[1]} args`;
  }
  const results = [resolve(own, a.type), resolve(theirs, b.type)] as const;
  if (shape(results[0]) !== shape(results[1])) {
    return `Return type ${kindText(results[0])} of ${mine.name}() doesn't match type ${kindText(results[1])} of ${other.name}()`;
  }
  for (const [index, parameter] of a.parameters.entries()) {
    const first = resolve(own, parameter.type);
    const second = resolve(theirs, b.parameters[index]?.type ?? 0);
    if (shape(first) !== shape(second)) {
      return `arg${index} in ${mine.name}() is ${kindText(first)} while ${other.name}() has ${kindText(second)}`;
    }
    const sizes = [sizeOf(first), sizeOf(second)] as const;
    if (sizes[0] !== undefined && sizes[0] !== sizes[1]) {
      return `arg${index} in ${mine.name}() has size ${sizes[0]} while ${other.name}() has ${sizes[1]}`;
    }
    if (first.kind === "int" || first.kind === "enum" || first.kind === "enum64") continue;
    if (first.kind !== "ptr" || second.kind !== "ptr") {
      return `arg${index} in ${mine.name}() has unrecognized type`;
    }
    const pointees = [resolve(own, first.type), resolve(theirs, second.type)] as const;
    for (const [at, pointee] of pointees.entries()) {
      if (pointee.kind !== "struct" && pointee.kind !== "union") {
        return `arg${index} in ${at === 0 ? mine.name : other.name}() is not a pointer to context`;
      }
    }
    if (pointees[0].name !== pointees[1].name) {
      return `arg${index} ${mine.name}(struct ${pointees[0].name} *) doesn't match ${other.name}(struct ${pointees[1].name} *)`;
    }
  }
  return undefined;
}

/** Bytes of types that have a size of their own (btf_type_has_size). */
function sizeOf(type: BtfType): number | undefined {
  switch (type.kind) {
    case "int":
    case "float":
    case "enum":
    case "enum64":
    case "struct":
    case "union":
      return type.size;
    default:
      return undefined;
  }
}
