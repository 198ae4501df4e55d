/** Imports; AssemblyScript names the import module after this file. */

/** Runs a helper of the host: r1 to r5 are in the execution state, the result goes to r0. May throw. */
export declare function call_helper(id: i32, exec: u32): void;

/** The same for a kernel function, by its BTF id as the instruction names it. */
export declare function call_kfunc(id: i32, exec: u32): void;

/** Compiles a program and enters its functions into the table. May throw. */
export declare function compile_program(prog: u32): void;
