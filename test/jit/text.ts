/** WebAssembly as text, through wabt. */
import wabt from "wabt";

/** A function that prints modules; `fold` nests operands into their instructions. */
export async function createPrinter(): Promise<(bytes: Uint8Array, fold?: boolean) => string> {
  const module = await wabt();
  return (bytes, fold = false) => {
    const parsed = module.readWasm(bytes, { readDebugNames: true, tail_call: true });
    try {
      return parsed.toText({ foldExprs: fold, inlineExport: false });
    } finally {
      parsed.destroy();
    }
  };
}
