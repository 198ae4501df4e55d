(module
  (type (;0;) (func (param i64 i64 i64 i64 i64 i32) (result i64)))
  (type (;1;) (func (param i32)))
  (import "env" "memory" (memory (;0;) 0))
  (import "core" "exec" (global (;0;) (mut i32)))
  (import "host" "helper_9" (func (;0;) (type 1)))
  (func $main (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i64 i64 i32)
    (local.set 6
      (local.get 0))
    (local.set 7
      (call 2
        (local.get 0)
        (i64.const 7)
        (i64.const 0)
        (i64.const 0)
        (i64.const 0)
        (i32.sub
          (local.get 5)
          (i32.const 512))))
    (local.set 6
      (i64.add
        (local.get 6)
        (local.get 7)))
    (local.set 8
      (global.get 0))
    (i64.store offset=8
      (local.get 8)
      (i64.const 0))
    (i64.store offset=80
      (local.get 8)
      (i64.extend_i32_u
        (local.get 5)))
    (i32.store offset=96
      (local.get 8)
      (i32.const 32))
    (call 0
      (local.get 8))
    (local.set 7
      (i64.load
        (local.get 8)))
    (local.set 7
      (i64.add
        (local.get 7)
        (local.get 6)))
    (return
      (local.get 7))
    (unreachable))
  (func $function_1 (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i64)
    (local.set 6
      (local.get 0))
    (local.set 6
      (i64.mul
        (local.get 6)
        (local.get 1)))
    (return
      (local.get 6))
    (unreachable))
  (export "f0" (func 1))
  (export "f1" (func 2)))
