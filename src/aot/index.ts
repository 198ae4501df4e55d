/** Ahead of time: BPF objects as self-contained WebAssembly modules. */
export {
  MANIFEST_SECTION,
  type Manifest,
  type Standalone,
  type StandaloneOptions,
  compileStandalone,
} from "./compile.ts";
