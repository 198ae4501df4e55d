import type { FunctionBuilder } from "../builder.ts";
import type { GeneratedMap } from "../model.ts";
import { NONE, SCALAR, type State } from "../state.ts";
import { randomImm } from "../values.ts";

const LOOKUP = 1;
const UPDATE = 2;
const DELETE = 3;

/** Maps whose values stay where they are. */
export function isArray({ type }: GeneratedMap): boolean {
  return type === "array" || type === "percpu_array";
}

/** Whether a call may be written: it loses r0 to r5. */
export function canCall(b: FunctionBuilder): boolean {
  return ![0, 1, 2, 3, 4, 5].some((reg) => b.locked.has(reg));
}

/** Calls a helper whose arguments are in place. */
export function callHelper(b: FunctionBuilder, id: number): void {
  b.emit("call_helper", { imm: id });
  b.now.clobber();
  b.set(0, NONE);
}

/** Argument `reg` = fp + offset. */
export function stackArgument(b: FunctionBuilder, reg: number, offset: number): void {
  b.emit("mov64_reg", { dst: reg, src: 10 });
  b.emit("add64_imm", { dst: reg, imm: offset });
  b.set(reg, NONE);
}

/** Puts a key on the stack: mostly one that the map has, else near it, else whatever lies there. */
function writeKey(b: FunctionBuilder, map: GeneratedMap): number | undefined {
  const { random } = b;
  if (random.chance(0.15)) {
    const place = b.writtenPlace(map.keySize);
    if (place !== undefined) return place;
  }
  const offset = b.place(map.keySize, 8);
  if (offset === undefined) return undefined;
  const key = isArray(map)
    ? new Uint8Array(
        Uint32Array.of(random.chance(0.9) ? random.below(map.maxEntries) : map.maxEntries).buffer,
      )
    : (random.pick(map.entries)?.[0] ?? new Uint8Array(map.keySize)).slice();
  if (!isArray(map) && random.chance(0.3)) {
    const at = random.below(key.length);
    // The first four bytes of a trie's key are a length.
    if (map.type !== "lpm_trie" || at >= 4) key[at] = random.below(4);
  }
  writeBytes(b, offset, key);
  return offset;
}

function writeBytes(b: FunctionBuilder, offset: number, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  for (; at + 4 <= bytes.length; at += 4) {
    b.emit("stw", { dst: 10, offset: offset + at, imm: view.getInt32(at, true) });
  }
  for (; at < bytes.length; at++) b.emit("stb", { dst: 10, offset: offset + at, imm: bytes[at] as number });
  b.now.write(offset, bytes.length);
}

/** r1 = map, r2 = key, in either order. */
function keyArguments(b: FunctionBuilder, map: GeneratedMap): boolean {
  const key = writeKey(b, map);
  if (key === undefined) return false;
  if (b.random.chance(0.5)) {
    b.loadMap(1, map);
    stackArgument(b, 2, key);
  } else {
    stackArgument(b, 2, key);
    b.loadMap(1, map);
  }
  return true;
}

/** Looks an element up, and goes on behind a check for NULL. */
export function mapLookup(b: FunctionBuilder): boolean {
  if (!canCall(b)) return false;
  const index = b.random.below(b.program.maps.length);
  const map = b.program.maps[index] as GeneratedMap;
  if (!keyArguments(b, map)) return false;
  callHelper(b, LOOKUP);
  const value = { kind: "value", map: index, offset: 0, spread: 0, align: 8 } as const;
  // A copy that is made before the check is as good as the original after it.
  let copy: number | undefined;
  if (b.random.chance(0.4)) {
    const free = [6, 7, 8, 9].filter((reg) => !b.locked.has(reg));
    if (free.length > 0) {
      copy = b.random.pick(free);
      b.emit("mov64_reg", { dst: copy, src: 0 });
      b.set(copy, NONE);
    }
  }
  const missing: State = b.now.clone();
  missing.regs[0] = SCALAR;
  if (b.random.chance(0.6)) b.jump("jeq64_imm", { dst: 0, imm: 0 }, missing);
  else {
    b.emit("jne64_imm", { dst: 0, imm: 0, offset: 1 });
    b.jump(b.random.pick(["ja", "ja32"]), {}, missing);
  }
  b.set(0, value);
  if (copy !== undefined) b.set(copy, value);
  return true;
}

/** The address of a global variable: a byte of an array's only value. */
export function mapValue(b: FunctionBuilder): boolean {
  const candidates = b.program.maps.flatMap((map, index) =>
    map.type === "array" && map.maxEntries === 1 ? [index] : [],
  );
  if (candidates.length === 0) return false;
  const index = b.random.pick(candidates);
  const map = b.program.maps[index] as GeneratedMap;
  const dst = b.target();
  const offset = b.random.below(Math.floor(map.valueSize / 8)) * 8;
  b.loadMap(dst, map, offset);
  b.set(dst, { kind: "value", map: index, offset, spread: 0, align: 8 });
  return true;
}

function writableMap(b: FunctionBuilder): number | undefined {
  const candidates = b.program.maps.flatMap((map, index) =>
    map.frozen || (b.keepElements > 0 && !isArray(map)) ? [] : [index],
  );
  return candidates.length === 0 ? undefined : b.random.pick(candidates);
}

/** Elements of hashes and tries may be reused once they are replaced or removed. */
function loseElements(b: FunctionBuilder, index: number): void {
  if (isArray(b.program.maps[index] as GeneratedMap)) return;
  b.now.forget((value) => value.kind === "value" && value.map === index);
}

export function mapUpdate(b: FunctionBuilder): boolean {
  const index = writableMap(b);
  if (index === undefined || !canCall(b)) return false;
  const map = b.program.maps[index] as GeneratedMap;
  let value = b.writtenPlace(map.valueSize);
  if (value === undefined || b.random.chance(0.3)) {
    value = b.place(map.valueSize, 8);
    if (value === undefined) return false;
    b.fill(value, map.valueSize);
  }
  if (!keyArguments(b, map)) return false;
  // The key may have been written over a part of the value; both are written bytes still.
  stackArgument(b, 3, value);
  b.constant(4, b.random.pick([0, 0, 0, 1, 2, 2, 3, randomImm(b.random)]));
  callHelper(b, UPDATE);
  b.set(0, SCALAR);
  loseElements(b, index);
  return true;
}

export function mapDelete(b: FunctionBuilder): boolean {
  const index = writableMap(b);
  if (index === undefined || !canCall(b) || !keyArguments(b, b.program.maps[index] as GeneratedMap))
    return false;
  callHelper(b, DELETE);
  b.set(0, SCALAR);
  loseElements(b, index);
  return true;
}
