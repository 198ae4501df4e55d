/** Statements of generated programs that need no object of the kernel: numbers, branches, loops, calls, callbacks, sections, records. */
import type { FunctionBuilder } from "./function.ts";

/** Writes a statement; `inner` writes what stands inside of it. */
export type Statement = (f: FunctionBuilder, inner: () => void) => void;

const CONSTANTS = [0, 1, 2, 3, 7, 8, 16, 31, 63, 255, -1, -8] as const;
const ARITHMETIC = [0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xc0] as const;
const JUMPS = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0] as const;

const PRANDOM = 7;
const LOOKUP = 1;
const SPIN_LOCK = 93;
const SPIN_UNLOCK = 94;
const RINGBUF_OUTPUT = 130;
const RINGBUF_RESERVE = 131;
const RINGBUF_ENDS = [132, 133] as const;
const FOR_EACH = 164;
const LOOP = 181;

export function arithmetic(f: FunctionBuilder): void {
  const dst = f.number();
  switch (f.below(5)) {
    case 0:
      f.helper(PRANDOM);
      return f.move(dst, 0);
    case 1:
      f.emit(0x57, dst, 0, 0, f.pick([1, 7, 15, 63, 255]));
      return;
    case 2:
      f.emit(f.pick(ARITHMETIC) | f.pick([0x0c, 0x0f]), dst, f.number());
      return;
    case 3:
      return f.set(dst, f.pick(CONSTANTS));
    default: {
      const op = f.pick(ARITHMETIC);
      const shift = op === 0x60 || op === 0x70 || op === 0xc0;
      f.emit(op | f.pick([4, 7]), dst, 0, 0, shift ? f.below(32) : f.pick(CONSTANTS));
    }
  }
}

export const branch: Statement = (f, inner) => {
  const op = f.pick(JUMPS) | f.pick([5, 6]);
  if (f.once(2)) f.unless(op, f.number(), 0, f.pick(CONSTANTS), inner);
  else f.unless(op | 8, f.number(), f.number(), 0, inner);
};

/** A place of `bytes` bytes on the stack, written. */
export function buffer(f: FunctionBuilder, bytes: number, body: (offset: number) => void): void {
  f.withStack(bytes, (offset) => {
    for (let at = offset; at < offset + bytes; at += 8) {
      if (f.once(3)) f.emit(0x7b, 10, f.number(), at);
      else f.emit(0x7a, 10, 0, at, f.pick(CONSTANTS));
    }
    body(offset);
  });
}

/** Reads or writes some bytes of memory of a size behind a register. */
export function touch(f: FunctionBuilder, base: number, size: number, from = 0): void {
  const [code, bytes] = f.pick([
    [0x10, 1],
    [0x08, 2],
    [0x00, 4],
    [0x18, 8],
  ] as const);
  const places = Math.floor((size - from - bytes) / bytes);
  const beyond = f.once(24) ? bytes : 0;
  const offset = from + bytes * f.below(Math.max(1, places + 1)) + beyond;
  if (f.once(2)) f.emit(0x61 | code, f.number(), base, offset);
  else f.emit(0x63 | code, base, f.number(), offset);
}

export function lookup(f: FunctionBuilder, map: string, found: (bytes: number) => void): void {
  f.withStack(8, (key) => {
    if (f.once(2)) f.emit(0x62, 10, 0, key, f.below(3));
    else f.emit(0x63, 10, f.number(), key);
    f.address(2, key);
    f.map(1, map);
    f.helper(LOOKUP);
    f.ifNotNull(0, () => found(VALUE_SIZES[map] ?? 0));
  });
}

export const VALUE_SIZES: Readonly<Record<string, number>> = {
  numbers: 64,
  values: 80,
  locks: 32,
  resilients: 32,
};

export const element: Statement = (f, inner) => {
  const map = f.pick(["numbers", "values"]);
  lookup(f, map, () => {
    f.move(9, 0);
    touch(f, 9, map === "numbers" ? 64 : 32);
    if (f.once(3)) inner();
  });
};

/** Starts and ends of packets as registers 2 and 3 have them, and a comparison. */
export const packet: Statement = (f) => {
  if (!f.hasContext) return arithmetic(f);
  const [data, end] = f.shared.type === "xdp" ? [0, 4] : [76, 80];
  f.emit(0x61, 2, 6, data);
  f.emit(0x61, 3, 6, end);
  f.move(4, 2);
  const length = f.pick([1, 8, 14, 34]);
  f.add(4, length);
  f.unless(0x2d, 4, 3, 0, () => touch(f, 2, length));
};

const countOf = (f: FunctionBuilder, dst: number): void => {
  if (f.once(2)) return f.set(dst, f.pick([0, 1, 5, 100, 1 << 23, (1 << 23) + 1]));
  f.move(dst, f.number());
  f.emit(0x57, dst, 0, 0, f.pick([7, 255, -1]));
};

/** bpf_loop and for_each_map_elem, with a place on the stack for what the callback works on. */
export const callbacks: Statement = (f) => {
  buffer(f, 24, (offset) => {
    const counts = f.once(2);
    if (counts) countOf(f, 1);
    else f.map(1, f.pick(["numbers", "values"]));
    f.callback(2, counts ? "each" : "each_element");
    if (f.once(6)) f.set(3, 0);
    else f.address(3, offset);
    f.set(4, 0);
    f.helper(counts ? LOOP : FOR_EACH);
    if (f.once(2)) f.move(f.number(), 0);
    if (f.once(2)) f.emit(0x79, f.number(), 10, offset + 8 * f.below(3));
  });
};

export const iterator: Statement = (f, inner) => {
  const bits = f.once(3);
  f.withStack(bits ? 16 : 8, (it) => {
    const use = (name: string): void => {
      f.address(1, it);
      f.kfunc(`bpf_iter_${bits ? "bits" : "num"}_${name}`);
    };
    const start = (): void => {
      f.address(1, it);
      f.kfunc(bits ? "bpf_iter_bits_new" : "bpf_iter_num_new");
      const top = f.code.length;
      use("next");
      f.ifNotNull(0, () => {
        f.emit(0x61, f.pick([7, 8, 9]), 0);
        inner();
        // Leaving early is fine as well.
        if (f.once(3)) f.unless(f.pick(JUMPS) | 5, f.number(), 0, f.pick(CONSTANTS), () => f.backTo(top));
        else f.backTo(top);
      });
      use("destroy");
    };
    if (bits) {
      buffer(f, 16, (words) => {
        f.address(2, words);
        f.set(3, f.pick([1, 2, 2, 3]));
        start();
      });
      return;
    }
    if (f.once(3)) {
      f.move(2, f.number());
      f.move(3, f.number());
    } else {
      f.set(2, f.below(3));
      f.set(3, f.below(12));
    }
    start();
  });
};

export const mayGoto: Statement = (f, inner) => {
  const top = f.emit(0xe5);
  if (f.once(2)) f.add(f.number(), 1);
  inner();
  f.backTo(top);
  f.code[top] = { opcode: 0xe5, dst: 0, src: 0, offset: f.code.length - top - 1, imm: 0 };
};

export const record: Statement = (f, inner) => {
  if (f.once(4)) {
    buffer(f, 16, (offset) => {
      f.map(1, "ring");
      f.address(2, offset);
      f.set(3, f.pick([8, 16]));
      f.set(4, 0);
      f.helper(RINGBUF_OUTPUT);
    });
    return;
  }
  f.withStack(8, (slot) => {
    const size = f.pick([8, 16, 24]);
    f.map(1, "ring");
    f.set(2, size);
    f.set(3, 0);
    f.helper(RINGBUF_RESERVE);
    f.ifNotNull(0, () => {
      f.emit(0x7b, 10, 0, slot);
      touch(f, 0, size);
      inner();
      f.emit(0x79, 1, 10, slot);
      if (f.once(4)) touch(f, 1, size);
      f.set(2, 0);
      f.helper(f.pick(RINGBUF_ENDS));
    });
  });
};

const region =
  (enter: string, leave: string): Statement =>
  (f, inner) => {
    f.kfunc(enter);
    inner();
    f.kfunc(leave);
  };

export const rcu = region("bpf_rcu_read_lock", "bpf_rcu_read_unlock");
export const preempt = region("bpf_preempt_disable", "bpf_preempt_enable");

export const interrupts: Statement = (f, inner) => {
  f.withStack(8, (flags) => {
    f.address(1, flags);
    f.kfunc("bpf_local_irq_save");
    inner();
    f.address(1, flags);
    f.kfunc("bpf_local_irq_restore");
  });
};

/** A value of a map under its lock. What stands inside may rarely call anything, so it rarely is there. */
export const lock: Statement = (f, inner) => {
  const resilient = f.once(3);
  const inside = (slot: number): void => {
    touch(f, 9, 32, 4);
    if (f.once(8)) inner();
    else if (f.once(2)) arithmeticOnly(f);
    f.emit(0x79, 1, 10, slot);
  };
  lookup(f, resilient ? "resilients" : "locks", () => {
    f.withStack(8, (slot) => {
      f.move(9, 0);
      f.emit(0x7b, 10, 0, slot);
      f.move(1, 0);
      if (!resilient) {
        f.helper(SPIN_LOCK);
        inside(slot);
        f.helper(SPIN_UNLOCK);
        return;
      }
      f.kfunc("bpf_res_spin_lock");
      f.unless(0x55, 0, 0, 0, () => {
        inside(slot);
        f.kfunc("bpf_res_spin_unlock");
      });
    });
  });
};

export function arithmeticOnly(f: FunctionBuilder): void {
  f.emit(f.pick(ARITHMETIC) | 0x0f, f.number(), f.number());
}

export const exception: Statement = (f) => {
  f.unless(f.pick(JUMPS) | 5, f.number(), 0, f.pick(CONSTANTS), () => {
    f.move(1, f.number());
    f.kfunc("bpf_throw");
  });
};

/** Any number becomes an address of the arena; pages that are not there read as zero. */
export const arena: Statement = (f) => {
  f.map(1, "arena");
  if (f.once(40)) {
    f.set(2, 0);
    f.set(3, 1);
    f.set(4, -1);
    f.set(5, 0);
    f.kfunc("bpf_arena_alloc_pages");
    f.move(9, 0);
  } else {
    f.move(9, f.number());
    f.emit(0xbf, 9, 9, 1, 1);
  }
  touch(f, 9, 4096);
  if (f.once(3)) f.emit(0x0f, 9, f.number());
  if (f.once(4) && f.mayCall) {
    f.move(1, 9);
    f.call("of_arena");
  } else touch(f, 9, 4096);
};

/** Functions of the program: hidden ones, verified with their callers, and global ones, verified by their types. */
export const call: Statement = (f) => {
  if (!f.mayCall) return;
  switch (f.below(6)) {
    case 0:
      f.move(1, f.number());
      f.move(2, f.number());
      f.call("of_numbers");
      break;
    case 1:
      if (!f.hasContext) return;
      f.move(1, 6);
      f.call(f.shared.type === "xdp" ? "of_xdp" : "of_tc");
      break;
    case 2:
      lookup(f, "numbers", () => {
        f.move(1, 0);
        if (f.once(3)) f.add(1, 8 * f.below(7));
        f.call(f.pick(["of_memory", "of_nonnull"]));
      });
      return;
    case 3:
      f.set(1, 0);
      f.call(f.once(5) ? "of_nonnull" : f.pick(["of_memory", "of_task"]));
      break;
    default:
      return buffer(f, 24, (offset) => {
        if (f.once(2)) {
          f.address(1, offset);
          f.call(f.pick(["of_memory", "of_nonnull"]));
        } else {
          f.move(1, 6);
          f.move(2, f.number());
          f.move(3, f.number());
          f.address(4, offset);
          f.call("local");
          if (f.once(2)) f.emit(0x79, f.number(), 10, offset);
        }
        f.move(f.number(), 0);
      });
  }
  f.move(f.number(), 0);
};
