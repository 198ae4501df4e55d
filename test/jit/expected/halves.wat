(module
  (type (;0;) (func (param i64 i64 i64 i64 i64 i32) (result i64)))
  (import "env" "memory" (memory (;0;) 0))
  (import "core" "exec" (global (;0;) (mut i32)))
  (func $main (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i32 i32 i32 i32)
    (local.set 6
      (i32.wrap_i64
        (local.get 0)))
    (local.set 7
      (local.get 6))
    (local.set 1
      (i64.extend_i32_s
        (local.get 7)))
    (local.set 6
      (local.get 6))
    (local.set 6
      (i32.mul
        (local.get 6)
        (i32.const 3)))
    (local.set 6
      (i32.or
        (i32.and
          (i32.shr_u
            (local.tee 8
              (local.get 6))
            (i32.const 8))
          (i32.const 255))
        (i32.and
          (i32.shl
            (local.get 8)
            (i32.const 8))
          (i32.const 65280))))
    (local.set 9
      (i64.gt_s
        (local.get 1)
        (i64.const 5)))
    (local.set 9
      (i32.add
        (local.get 9)
        (local.get 6)))
    (return
      (i64.extend_i32_u
        (local.get 9)))
    (unreachable))
  (export "f0" (func 0)))
