/** Steps of an origin in words. */
import { hookOf } from "../hooks/index.ts";
import { accessSize } from "./effects.ts";
import { locationName, valueAt } from "./location.ts";
import type { OriginEvent } from "./origin.ts";
import type { FailingPath, PathStep } from "./path.ts";
import { rangeWords, valueWords } from "./words.ts";

const OPERATORS = ["+", "-", "*", "/", "|", "&", "<<", ">>", "-", "%", "^", "=", "s>>", "byte swap"] as const;

export function eventWords(path: FailingPath, event: OriginEvent): string {
  const { kind, location, from, after, callee } = event;
  const name = locationName(location);
  const step = path.steps[event.step];
  const [source] = from;
  switch (kind) {
    case "entry":
      return event.before === undefined
        ? `${name} is not set when the function begins`
        : `${name} is ${valueWords(event.before)} when the function begins`;
    case "constant":
      return `${name} becomes ${valueWords(after)}`;
    case "move":
      return `${name} is copied from ${source === undefined ? "?" : locationName(source)}`;
    case "truncate":
      return `${name} gets the lower bits of ${source === undefined ? "?" : locationName(source)} only, and is now ${valueWords(after)}`;
    case "arithmetic":
    case "arithmetic32":
      return arithmeticWords(step, event);
    case "load":
      return `${name} is loaded from ${loadedFrom(path, step)}: ${valueWords(after)}`;
    case "atomic":
      return `${name} gets what an atomic instruction found in memory`;
    case "spill":
      return `${name} on the stack keeps ${source === undefined ? "a register" : locationName(source)}`;
    case "partial":
      return `a part of ${name} on the stack is overwritten`;
    case "fill":
      return `${name} comes back from ${source === undefined ? "the stack" : locationName(source)} on the stack`;
    case "partial_fill":
      return `${name} gets a part of ${source === undefined ? "the stack" : locationName(source)} on the stack: ${valueWords(after)}`;
    case "call_result":
      return `${name} is the result of ${callee ?? "a call"}: ${valueWords(after)}`;
    case "clobbered":
      return `${name} is not readable after ${callee ?? "a call"}`;
    case "argument":
      return `${name} is an argument of the function that begins here: ${valueWords(after)}`;
    case "returned":
      return `${name} is what the function returned: ${valueWords(after)}`;
    case "check":
      return checkWords(event);
    case "written":
      return `${callee ?? "the call"} writes ${name} on the stack: a number to the verifier`;
    case "invalidated":
      return `${callee ?? "the call"} ends what was known of ${name}: it is now ${valueWords(after)}`;
    default:
      return `${name} becomes ${valueWords(after)}`;
  }
}

function arithmeticWords(step: PathStep | undefined, { location, from, after }: OriginEvent): string {
  const name = locationName(location);
  if (step === undefined) return `${name} is computed: ${valueWords(after)}`;
  const { opcode, imm } = step.instruction;
  const operator = OPERATORS[opcode >> 4] ?? "?";
  const other = from[1];
  const narrow = (opcode & 7) === 4 ? " in 32 bits" : "";
  if (operator === "byte swap" || opcode >> 4 === 8)
    return `${name} is ${operator === "-" ? "negated" : "byte-swapped"}: ${valueWords(after)}`;
  const right = other === undefined ? String(imm) : `${locationName(other)} (${operandWords(step, other)})`;
  return `${name} ${operator}= ${right}${narrow}: ${valueWords(after)}`;
}

function operandWords(step: PathStep, location: OriginEvent["location"]): string {
  const value = valueAt(step.state, location);
  return value === undefined || value.pointer ? valueWords(value) : rangeWords(value);
}

function checkWords({ location, before, after }: OriginEvent): string {
  const name = locationName(location);
  if (before?.nullable === true) {
    return after?.pointer === true
      ? `the condition holds: ${name} is not NULL`
      : `the condition holds: ${name} is NULL`;
  }
  return `the condition tells more: ${name} is ${valueWords(after)}`;
}

/** "the context field 'data'", "the packet", "a value of map 'm'". */
function loadedFrom({ program }: FailingPath, step: PathStep | undefined): string {
  const reg = step?.state.frames.at(-1)?.registers[step.instruction.src];
  if (step === undefined || reg === undefined) return "memory";
  const offset = reg.offset + step.instruction.offset;
  switch (reg.type) {
    case "ctx": {
      const field = hookOf(program.type).context.fields.find(
        (row) => row.offset <= offset && offset < row.offset + row.size * (row.count ?? 1),
      );
      return field === undefined ? `the context (offset ${offset})` : `the context field '${field.name}'`;
    }
    case "map_value":
      return `a value of map '${reg.map?.name ?? ""}' (${accessSize(step.instruction.opcode)} bytes)`;
    case "pkt":
      return `the packet (${accessSize(step.instruction.opcode)} bytes)`;
    case "fp":
      return "the stack";
    default:
      return reg.struct === "" ? "memory" : `struct ${reg.struct}`;
  }
}
