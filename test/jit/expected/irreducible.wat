(module
  (type (;0;) (func (param i64 i64 i64 i64 i64 i32) (result i64)))
  (import "env" "memory" (memory (;0;) 0))
  (import "core" "exec" (global (;0;) (mut i32)))
  (func $main (type 0) (param i64 i64 i64 i64 i64 i32) (result i64)
    (local i32 i64 i32)
    (block  ;; label = @1
      (if  ;; label = @2
        (i64.eqz
          (local.get 0))
        (then
          (local.set 7
            (i64.extend_i32_u
              (local.get 6)))
          (local.set 8
            (i32.const 0))
          (br 1 (;@1;))))
      (local.set 7
        (i64.extend_i32_u
          (local.get 6)))
      (local.set 8
        (i32.const 1)))
    (block  ;; label = @1
      (loop  ;; label = @2
        (block  ;; label = @3
          (block  ;; label = @4
            (br_table 1 (;@3;) 0 (;@4;)
              (local.get 8)))
          (local.set 7
            (i64.add
              (local.get 7)
              (i64.const 1)))
          (local.set 8
            (i32.const 0))
          (br 1 (;@2;)))
        (local.set 7
          (i64.add
            (local.get 7)
            (i64.const 10)))
        (local.set 0
          (i64.add
            (local.get 0)
            (i64.const -1)))
        (br_if 1 (;@1;)
          (i64.le_s
            (local.get 0)
            (i64.const 0)))
        (local.set 8
          (i32.const 1))
        (br 0 (;@2;))))
    (return
      (local.get 7))
    (unreachable))
  (export "f0" (func 0)))
