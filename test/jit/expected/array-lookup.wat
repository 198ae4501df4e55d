(module
  (type (;0;) (func (param i64 i64 i64 i64 i64 i32) (result i64)))
  (import "env" "memory" (memory (;0;) 0))
  (import "core" "exec" (global (;0;) (mut i32)))
  (func $main (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i32 i32 i32 i32)
    (local.set 7
      (i32.sub
        (local.get 5)
        (i32.const 512)))
    (local.set 6
      (i32.wrap_i64
        (local.get 0)))
    (block  ;; label = @1
      (i32.store offset=508
        (local.get 7)
        (local.get 6))
      (local.set 9
        (select
          (i32.add
            (i32.mul
              (local.tee 8
                (i32.load offset=508
                  (local.get 7)))
              (i32.const 8))
            (i32.const 86016))
          (i32.const 0)
          (i32.lt_u
            (local.get 8)
            (i32.const 256))))
      (br_if 0 (;@1;)
        (i32.eqz
          (local.get 9)))
      (local.set 0
        (i64.load
          (local.get 9)))
      (local.set 0
        (i64.add
          (local.get 0)
          (i64.const 1)))
      (i64.store
        (local.get 9)
        (local.get 0))
      (local.set 9
        (i32.const 1)))
    (return
      (i64.extend_i32_u
        (local.get 9)))
    (unreachable))
  (export "f0" (func 0)))
