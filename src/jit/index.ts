/** The compiler from eBPF to WebAssembly. */
export { compileProgram } from "./compile.ts";
export type {
  ArrayMap,
  CompileInput,
  CompiledProgram,
  CoreLowering,
  FunctionRange,
  HelperLowering,
  HostLowering,
} from "./types.ts";
export type { Sandbox } from "./sandbox.ts";
