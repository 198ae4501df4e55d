/**
 * Lint rules, and the layering of the source: a folder may import from the folders that its row names and from no
 * other. ARCHITECTURE.md explains the order.
 */
const LAYERS = {
  isa: [],
  uapi: [],
  elf: [],
  capture: [],
  packet: [],
  btf: [],
  core: [],
  asm: ["isa"],
  object: ["isa", "uapi", "elf", "btf"],
  hooks: ["uapi", "core"],
  verifier: ["isa", "uapi", "btf", "object", "hooks"],
  explain: ["isa", "uapi", "btf", "object", "hooks", "verifier"],
  profiles: ["isa", "uapi", "btf", "object", "verifier", "explain"],
  report: ["isa", "verifier", "explain"],
  jit: ["isa", "uapi", "core"],
  wat: [],
  cbpf: ["isa", "jit"],
  filter: ["isa", "cbpf"],
  seccomp: ["isa", "cbpf"],
  machine: ["isa", "uapi", "btf", "object", "core", "jit", "hooks", "verifier"],
  aot: ["uapi", "object", "core", "hooks", "jit", "wat", "machine"],
  kernel: ["isa", "uapi", "btf", "object", "hooks", "verifier", "machine"],
  testing: ["isa", "btf", "object", "packet", "machine"],
  cli: [
    "isa",
    "uapi",
    "elf",
    "capture",
    "packet",
    "testing",
    "btf",
    "asm",
    "object",
    "hooks",
    "cbpf",
    "filter",
    "seccomp",
    "core",
    "jit",
    "wat",
    "machine",
    "aot",
    "kernel",
    "verifier",
    "explain",
    "profiles",
    "report",
  ],
};

/** Only these touch the host: everything else runs in a browser as it does in Node.js. */
const MAY_USE_NODE = ["kernel", "cli"];

const folders = Object.keys(LAYERS);

const layerOverrides = folders.map((folder) => {
  const forbidden = folders.filter((other) => other !== folder && !LAYERS[folder].includes(other));
  const patterns = forbidden.map((other) => ({
    // A folder inside the layer may have the name of another layer, as btf/core has.
    group: [`../${other}/**`, `../../${other}/**`],
    message: `src/${folder} must not import from src/${other}: see LAYERS in oxlint.config.js`,
  }));
  if (!MAY_USE_NODE.includes(folder)) {
    patterns.push({ group: ["node:*"], message: `src/${folder} must run in browsers too` });
  }
  if (folder !== "kernel") {
    patterns.push({ group: ["koffi"], message: "only src/kernel may use the FFI library" });
  }
  return {
    files: [`src/${folder}/**/*.ts`],
    rules: { "no-restricted-imports": ["error", { patterns }] },
  };
});

export default {
  plugins: ["typescript", "unicorn", "oxc", "import"],
  categories: { correctness: "error", suspicious: "error" },
  ignorePatterns: [
    "dist/**",
    "src/core/assembly/**",
    "src/verifier/scalar/assembly/**",
    "src/cli/bench/stack/assembly/**",
    "**/*.wasm.ts",
    "coverage/**",
  ],
  rules: {
    "import/no-cycle": "error",
    "import/no-default-export": "error",
    // What is imported for its effect: matchers for vitest.
    "import/no-unassigned-import": ["error", { allow: ["**/testing/vitest.ts", "skep/testing/vitest"] }],
    "typescript/no-explicit-any": "error",
    "no-console": "off",
    // fast-check's `fc` is used as its documentation uses it.
    "import/no-named-as-default-member": "off",
    // Loops over growing work lists and generators use these on purpose.
    "no-await-in-loop": "off",
    "no-shadow": "off",
    "unicorn/no-new-array": "off",
    "unicorn/no-array-sort": "off",
    "unicorn/no-array-reverse": "off",
    "unicorn/consistent-function-scoping": "off",
  },
  overrides: [
    ...layerOverrides,
    { files: ["*.config.ts", "*.config.js"], rules: { "import/no-default-export": "off" } },
    // JSON of the command line has no type.
    { files: ["test/**"], rules: { "typescript/no-explicit-any": "off" } },
  ],
};
