(module
  (type (;0;) (func (param i64 i64 i64 i64 i64 i32) (result i64)))
  (import "env" "memory" (memory (;0;) 0))
  (import "core" "exec" (global (;0;) (mut i32)))
  (func $main (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i32 i64 i32)
    (local.set 6
      (i32.wrap_i64
        (local.get 0)))
    (local.set 7
      (i64.const 0))
    (local.set 2
      (i64.const 0))
    (block  ;; label = @1
      (loop  ;; label = @2
        (br_if 1 (;@1;)
          (i64.ge_u
            (local.get 2)
            (local.get 1)))
        (local.set 8
          (local.get 6))
        (local.set 8
          (i32.add
            (local.get 8)
            (i32.wrap_i64
              (local.get 2))))
        (local.set 8
          (i32.load8_u
            (local.get 8)))
        (br_if 1 (;@1;)
          (i32.eq
            (local.get 8)
            (i32.const 10)))
        (local.set 7
          (i64.add
            (local.get 7)
            (i64.extend_i32_u
              (local.get 8))))
        (local.set 2
          (i64.add
            (local.get 2)
            (i64.const 1)))
        (br 0 (;@2;))))
    (return
      (local.get 7))
    (unreachable))
  (export "f0" (func 0)))
