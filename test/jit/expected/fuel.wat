(module
  (type (;0;) (func (param i64 i64 i64 i64 i64 i32) (result i64)))
  (type (;1;) (func (param i32 i32)))
  (type (;2;) (func (param i32)))
  (import "env" "memory" (memory (;0;) 0))
  (import "core" "exec" (global (;0;) (mut i32)))
  (import "core" "fuel" (global (;1;) (mut i64)))
  (import "core" "fault" (func (;0;) (type 1)))
  (import "host" "helper_5" (func (;1;) (type 2)))
  (func $main (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i64 i32 i64)
    (local.set 6
      (global.get 1))
    (block  ;; label = @1
      (loop  ;; label = @2
        (if  ;; label = @3
          (i64.lt_s
            (local.tee 6
              (i64.sub
                (local.get 6)
                (i64.const 1)))
            (i64.const 0))
          (then
            (call 0
              (i32.const 1)
              (i32.const 8))
            (unreachable)))
        (local.set 0
          (i64.add
            (local.get 0)
            (i64.const -1)))
        (br_if 0 (;@2;)
          (i64.ne
            (local.get 0)
            (i64.const 0)))
        (br 1 (;@1;))))
    (global.set 1
      (local.get 6))
    (local.set 7
      (global.get 0))
    (i64.store offset=8
      (local.get 7)
      (local.get 0))
    (i64.store offset=80
      (local.get 7)
      (i64.extend_i32_u
        (local.get 5)))
    (i32.store offset=96
      (local.get 7)
      (i32.const 32))
    (call 1
      (local.get 7))
    (local.set 6
      (global.get 1))
    (local.set 8
      (i64.load
        (local.get 7)))
    (global.set 1
      (local.get 6))
    (return
      (local.get 8))
    (unreachable))
  (export "f0" (func 2)))
