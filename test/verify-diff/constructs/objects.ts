/** Statements about what the kernel lends: objects with owners, lists and trees of them, kernel pointers, timers, dynptrs. */
import type { FunctionBuilder } from "./function.ts";
import { type Statement, arithmeticOnly, buffer, lookup, touch } from "./statements.ts";

const TIMER_INIT = 169;
const TIMER_SET_CALLBACK = 170;
const TIMER_START = 171;
const TIMER_CANCEL = 172;
const KPTR_XCHG = 194;
const DYNPTR_FROM_MEM = 197;
const RESERVE_DYNPTR = 198;
const DYNPTR_ENDS = [199, 200] as const;
const DYNPTR_READ = 201;
const DYNPTR_WRITE = 202;
const DYNPTR_DATA = 203;
const SPIN_LOCK = 93;
const SPIN_UNLOCK = 94;

/** Where fields lie in the structures of test/fixtures/constructs.bpf.c. */
const VALUE = { task: 32, plain: 40, timer: 48, work: 64 } as const;
const NODE = { list: 0, tree: 24, key: 64 } as const;
const ITEM = { key: 0, list: 8 } as const;
const ROOT = { lock: 0, list: 8, tree: 24 } as const;

function allocate(f: FunctionBuilder, type: string, made: (slot: number) => void): void {
  f.withStack(8, (slot) => {
    f.set(1, f.shared.typeId(type));
    f.set(2, 0);
    f.kfunc("bpf_obj_new_impl");
    f.ifNotNull(0, () => {
      f.emit(0x7b, 10, 0, slot);
      made(slot);
    });
  });
}

/** Gives back the object at a place of the stack; `back` bytes before the pointer. */
function drop(f: FunctionBuilder, slot: number, back = 0): void {
  f.emit(0x79, 1, 10, slot);
  if (back !== 0) f.add(1, -back);
  f.set(2, 0);
  f.kfunc("bpf_obj_drop_impl");
}

export const object: Statement = (f, inner) => {
  const [type, from, size] = f.pick([
    ["plain", 0, 8],
    ["node", 64, 72],
    ["item", 32, 48],
  ] as const);
  allocate(f, type, (slot) => {
    touch(f, 0, size, from);
    if (type === "node" && f.once(3)) {
      f.emit(0x79, 1, 10, slot);
      f.set(2, 0);
      f.kfunc("bpf_refcount_acquire_impl");
      f.withStack(8, (second) => {
        f.emit(0x7b, 10, 0, second);
        inner();
        drop(f, second);
      });
    } else inner();
    if (f.once(3)) {
      f.emit(0x79, 9, 10, slot);
      touch(f, 9, size, from);
    }
    drop(f, slot);
  });
};

/** A kernel pointer in a map's value is exchanged for another. */
export const exchange: Statement = (f, inner) => {
  const isTask = f.once(2);
  const offset = isTask ? VALUE.task : VALUE.plain;
  const giveBack = (reg: number): void => {
    if (reg !== 1) f.move(1, reg);
    if (isTask) return f.kfunc("bpf_task_release");
    f.set(2, 0);
    f.kfunc("bpf_obj_drop_impl");
  };
  const store = (slot: number): void => {
    lookupEither(
      f,
      "values",
      () => {
        f.emit(0x79, 1, 10, slot);
        giveBack(1);
      },
      () => {
        f.move(1, 0);
        f.add(1, offset);
        f.emit(0x79, 2, 10, slot);
        f.helper(KPTR_XCHG);
        f.ifNotNull(0, () => giveBack(0));
      },
    );
  };
  if (f.once(3)) {
    // Nothing is put in.
    lookup(f, "values", () => {
      f.move(1, 0);
      f.add(1, offset);
      f.set(2, 0);
      f.helper(KPTR_XCHG);
      f.ifNotNull(0, () => giveBack(0));
    });
  } else if (isTask) {
    f.set(1, f.below(3));
    f.kfunc("bpf_task_from_pid");
    f.ifNotNull(0, () => {
      f.withStack(8, (slot) => {
        f.emit(0x7b, 10, 0, slot);
        inner();
        store(slot);
      });
    });
  } else {
    allocate(f, "plain", (slot) => {
      touch(f, 0, 8);
      store(slot);
    });
  }
};

function lookupEither(f: FunctionBuilder, map: string, missing: () => void, found: () => void): void {
  f.withStack(8, (key) => {
    f.emit(0x62, 10, 0, key, f.below(3));
    f.address(2, key);
    f.map(1, map);
    f.helper(1);
    f.either(0, missing, found);
  });
}

/** What stands in a map's value is read where it lies, under RCU or not. */
export const peek: Statement = (f, inner) => {
  const guarded = !f.once(3);
  lookup(f, "values", () => {
    const offset = f.pick([VALUE.plain, VALUE.plain, VALUE.task]);
    f.withStack(8, (slot) => {
      f.emit(0x7b, 10, 0, slot);
      if (guarded) f.kfunc("bpf_rcu_read_lock");
      f.emit(0x79, 9, 10, slot);
      f.emit(0x79, 9, 9, offset);
      f.ifNotNull(9, () => {
        if (offset === VALUE.plain) f.emit(f.pick([0x61, 0x71]), f.number(), 9, 4 * f.below(3));
        else {
          f.withStack(8, (task) => {
            f.move(1, 9);
            f.kfunc("bpf_task_acquire");
            f.ifNotNull(0, () => {
              f.emit(0x7b, 10, 0, task);
              inner();
              f.emit(0x79, 1, 10, task);
              f.kfunc("bpf_task_release");
            });
          });
        }
      });
      if (guarded) f.kfunc("bpf_rcu_read_unlock");
    });
  });
};

function under(f: FunctionBuilder, root: string, body: () => void): void {
  f.mapValue(1, root, ROOT.lock);
  f.helper(SPIN_LOCK);
  body();
  f.mapValue(1, root, ROOT.lock);
  f.helper(SPIN_UNLOCK);
}

/** Lists: an object goes in, is used under the lock after it, another comes out. */
export const list: Statement = (f, inner) => {
  const [type, root, own] = f.once(2)
    ? (["node", "shared", NODE.list] as const)
    : (["item", "other", ITEM.list] as const);
  const key = type === "node" ? NODE.key : ITEM.key;
  const pop = (): void => {
    f.withStack(8, (slot) => {
      under(f, root, () => {
        f.mapValue(1, root, ROOT.list);
        f.kfunc(f.pick(["bpf_list_pop_front", "bpf_list_pop_back"]));
        if (f.once(8)) f.kfunc("bpf_list_front");
        f.emit(0x7b, 10, 0, slot);
      });
      f.emit(0x79, 0, 10, slot);
      f.ifNotNull(0, () => {
        if (f.once(2)) touch(f, 0, key - own + 8, key - own);
        drop(f, slot, own);
      });
    });
  };
  if (f.once(4)) return pop();
  allocate(f, type, (slot) => {
    f.emit(0x7b, 0, f.number(), key);
    under(f, root, () => {
      f.mapValue(1, root, ROOT.list);
      f.emit(0x79, 2, 10, slot);
      if (own !== 0) f.add(2, own);
      f.set(3, 0);
      f.set(4, 0);
      f.emit(0x79, 9, 10, slot);
      f.kfunc(f.pick(["bpf_list_push_front_impl", "bpf_list_push_back_impl"]));
      if (f.once(2)) f.emit(f.pick([0x79, 0x7b]), f.once(2) ? 9 : f.number(), 9, key);
      else if (f.once(8)) inner();
      else arithmeticOnly(f);
    });
    // The lock is gone, and with it what was borrowed.
    if (f.once(12)) f.emit(0x79, f.number(), 9, key);
    if (f.once(2)) pop();
  });
};

export const tree: Statement = (f, inner) => {
  const take = (): void => {
    f.withStack(8, (slot) => {
      f.emit(0x7a, 10, 0, slot, 0);
      under(f, "shared", () => {
        f.mapValue(1, "shared", ROOT.tree);
        f.kfunc(f.pick(["bpf_rbtree_first", "bpf_rbtree_first", "bpf_rbtree_root"]));
        f.ifNotNull(0, () => {
          if (f.once(3)) {
            f.mapValue(1, "shared", ROOT.tree);
            f.move(2, 0);
            f.kfunc("bpf_rbtree_left");
            f.ifNotNull(0, () => f.emit(0x79, f.number(), 0, NODE.key - NODE.tree));
            return;
          }
          f.mapValue(1, "shared", ROOT.tree);
          f.move(2, 0);
          f.kfunc("bpf_rbtree_remove");
          f.emit(0x7b, 10, 0, slot);
        });
      });
      f.emit(0x79, 0, 10, slot);
      f.ifNotNull(0, () => {
        touch(f, 0, NODE.key - NODE.tree + 8, NODE.key - NODE.tree);
        drop(f, slot, NODE.tree);
      });
    });
  };
  if (f.once(4)) return take();
  allocate(f, "node", (slot) => {
    f.emit(0x7b, 0, f.number(), NODE.key);
    if (f.once(6)) inner();
    under(f, "shared", () => {
      f.mapValue(1, "shared", ROOT.tree);
      f.emit(0x79, 2, 10, slot);
      f.add(2, NODE.tree);
      f.callback(3, "less");
      f.set(4, 0);
      f.set(5, 0);
      f.kfunc("bpf_rbtree_add_impl");
      arithmeticOnly(f);
    });
    if (f.once(2)) take();
  });
};

export const timer: Statement = (f) => {
  lookup(f, "values", () => {
    f.move(9, 0);
    const field = (reg: number): void => {
      f.move(reg, 9);
      f.add(reg, VALUE.timer);
    };
    field(1);
    f.map(2, "values");
    f.set(3, 1);
    f.helper(TIMER_INIT);
    field(1);
    f.callback(2, "on_timer");
    f.helper(TIMER_SET_CALLBACK);
    field(1);
    f.set(2, 1000);
    f.set(3, 0);
    f.helper(TIMER_START);
    if (f.once(4)) {
      field(1);
      f.helper(TIMER_CANCEL);
    }
    touch(f, 9, 32);
  });
};

export const work: Statement = (f) => {
  lookup(f, "values", () => {
    f.move(9, 0);
    const field = (): void => {
      f.move(1, 9);
      f.add(1, VALUE.work);
    };
    field();
    f.map(2, "values");
    f.set(3, 0);
    f.kfunc("bpf_wq_init");
    field();
    f.callback(2, "on_work");
    f.set(3, 0);
    f.set(4, 0);
    f.kfunc("bpf_wq_set_callback_impl");
    field();
    f.set(2, 0);
    f.kfunc("bpf_wq_start");
  });
};

export const dynptr: Statement = (f, inner) => {
  f.withStack(16, (at) => {
    const use = (): void => {
      for (let count = f.below(4); count > 0; count--) useDynptr(f, at, inner);
    };
    switch (f.hasContext ? f.below(3) : f.pick([0, 2])) {
      case 0:
        f.map(1, "ring");
        f.set(2, f.pick([8, 16, 64]));
        f.set(3, 0);
        f.address(4, at);
        f.helper(RESERVE_DYNPTR);
        use();
        f.address(1, at);
        f.set(2, 0);
        return f.helper(f.pick(DYNPTR_ENDS));
      case 1:
        f.move(1, 6);
        f.set(2, 0);
        f.address(3, at);
        f.kfunc(f.shared.type === "xdp" ? "bpf_dynptr_from_xdp" : "bpf_dynptr_from_skb");
        return use();
      default:
        lookup(f, "numbers", () => {
          f.move(1, 0);
          f.set(2, f.pick([8, 32, 64, 64]));
          f.set(3, 0);
          f.address(4, at);
          f.helper(DYNPTR_FROM_MEM);
          use();
        });
    }
  });
};

function useDynptr(f: FunctionBuilder, at: number, inner: () => void): void {
  const place = (): void => {
    if (f.once(3)) f.move(2, f.number());
    else f.set(2, f.below(12));
  };
  switch (f.below(9)) {
    case 0:
      f.address(1, at);
      place();
      f.set(3, f.pick([4, 8, 16]));
      f.helper(DYNPTR_DATA);
      return f.ifNotNull(0, () => touch(f, 0, 4));
    case 1:
      return f.withStack(16, (clone) => {
        f.address(1, at);
        f.address(2, clone);
        f.kfunc("bpf_dynptr_clone");
        useDynptr(f, clone, inner);
      });
    case 2:
      return buffer(f, 16, (bytes) => {
        f.address(1, at);
        place();
        if (f.once(3)) f.set(3, 0);
        else f.address(3, bytes);
        f.set(4, f.pick([4, 8, 16]));
        const writes = f.once(2);
        f.kfunc(writes ? "bpf_dynptr_slice_rdwr" : "bpf_dynptr_slice");
        f.ifNotNull(0, () => {
          f.move(9, 0);
          if (writes) touch(f, 9, 4);
          else f.emit(0x71, f.number(), 9, f.below(4));
          // A slice is lost with what changes the packet.
          if (f.once(4)) inner();
          if (f.once(8)) touch(f, 9, 4);
        });
      });
    case 3:
      return buffer(f, 16, (bytes) => {
        f.address(1, bytes);
        f.set(2, f.pick([1, 8, 16]));
        f.address(3, at);
        f.set(4, f.below(8));
        f.set(5, 0);
        f.helper(DYNPTR_READ);
        f.emit(0x79, f.number(), 10, bytes);
      });
    case 4:
      return buffer(f, 16, (bytes) => {
        f.address(1, at);
        place();
        f.address(3, bytes);
        f.set(4, f.pick([1, 8, 16]));
        f.set(5, 0);
        f.helper(DYNPTR_WRITE);
      });
    case 5:
      f.address(1, at);
      f.set(2, f.below(4));
      f.set(3, f.pick([4, 8, 8, 100]));
      return f.kfunc("bpf_dynptr_adjust");
    case 6:
      f.address(1, at);
      f.kfunc(f.pick(["bpf_dynptr_size", "bpf_dynptr_is_null"]));
      return f.move(f.number(), 0);
    case 7:
      if (!f.mayCall) return;
      f.address(1, at);
      f.call("of_dynptr");
      return f.move(f.number(), 0);
    default:
      return inner();
  }
}
