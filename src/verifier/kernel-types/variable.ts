/** Variables and functions of the kernel whose address a program takes (check_pseudo_btf_id of kernel/bpf/verifier.c). */
import type { Btf } from "../../btf/index.ts";
import type { Environment, KernelVariable } from "../environment.ts";
import { MEM_PERCPU, MEM_RDONLY, PTR_TO_BTF_ID, PTR_TO_MEM } from "../register-types.ts";
import { resolveSize, skipModifiers } from "./walk.ts";

export function kernelVariable(env: Environment, id: number, module: number): KernelVariable {
  const { kernelBtf: btf, symbols } = env.program;
  if (btf === undefined || module !== 0) throw env.unsupported("variable of the kernel");
  if (id < 0 || id >= btf.count) {
    throw env.reject("ENOENT", `ldimm64 insn specifies invalid btf_id ${id}.`);
  }
  const type = btf.type(id);
  if (type.kind !== "var" && type.kind !== "func") {
    throw env.reject("EINVAL", `pseudo btf_id ${id} in ldimm64 isn't KIND_VAR or KIND_FUNC`);
  }
  if (symbols?.has(type.name) === false) {
    throw env.reject("ENOENT", `ldimm64 failed to find the address for kernel symbol '${type.name}'.`);
  }
  const memory = (memSize: number): KernelVariable => ({
    type: PTR_TO_MEM | MEM_RDONLY,
    btf: undefined,
    btfId: 0,
    memSize,
  });
  if (type.kind === "func") return memory(0);
  const object = { btf, btfId: type.type, memSize: 0 };
  if (isPerCpu(btf, id)) return { ...object, type: PTR_TO_BTF_ID | MEM_PERCPU };
  const target = btf.type(skipModifiers(btf, type.type));
  if (target.kind === "struct" || target.kind === "union") return { ...object, type: PTR_TO_BTF_ID };
  const size = resolveSize(btf, type.type)?.size;
  if (size === undefined) {
    throw env.reject("EINVAL", `ldimm64 unable to resolve the size of type '${target.name}': -22`);
  }
  return memory(size);
}

const perCpu = new WeakMap<Btf, ReadonlySet<number>>();

function isPerCpu(btf: Btf, id: number): boolean {
  let known = perCpu.get(btf);
  if (known === undefined) {
    const [section] = btf.find(".data..percpu", "datasec");
    known = new Set(section?.kind === "datasec" ? section.variables.map(({ type }) => type) : []);
    perCpu.set(btf, known);
  }
  return known.has(id);
}
