(module
  (type (;0;) (func (param i64 i64 i64 i64 i64 i32) (result i64)))
  (import "env" "memory" (memory (;0;) 0))
  (import "core" "exec" (global (;0;) (mut i32)))
  (func $main (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i32 i32 i32 i32)
    (local.set 6
      (i32.wrap_i64
        (local.get 0)))
    (block  ;; label = @1
      (local.set 7
        (i32.load offset=4
          (local.get 6)))
      (local.set 6
        (i32.load
          (local.get 6)))
      (local.set 8
        (local.get 6))
      (local.set 2
        (i64.add
          (i64.extend_i32_u
            (local.get 8))
          (i64.const 14)))
      (br_if 0 (;@1;)
        (i64.gt_u
          (local.get 2)
          (i64.extend_i32_u
            (local.get 7))))
      (local.set 9
        (i32.load16_u offset=12
          (local.get 6)))
      (br_if 0 (;@1;)
        (i32.ne
          (local.get 9)
          (i32.const 8)))
      (return
        (i64.const 1)))
    (return
      (i64.const 2))
    (unreachable))
  (export "f0" (func 0)))
