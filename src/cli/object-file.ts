/** Object files as commands need them. Apart from files.ts: commands that read no objects start in half the time without. */
import { BpfError } from "../errors.ts";
import { type ObjectSpec, parseObject } from "../object/index.ts";
import type { Options, Values } from "./command.ts";
import { readInput } from "./files.ts";

export const STRICT_OPTION: Options = {
  strict: { type: "boolean", help: "refuse what libbpf 1.x would refuse" },
};

/** An object, read as `--strict` among the values says; errors that arise inside it name the file. */
export async function readObject(path: string, values: Values): Promise<ObjectSpec> {
  const bytes = await readInput(path);
  try {
    return parseObject(bytes, { name: path, strict: values["strict"] === true });
  } catch (error) {
    if (!(error instanceof BpfError) || error.message.includes(path)) throw error;
    throw new BpfError(error.code, `${path}: ${error.message}`, {
      where: { ...error.where, file: path },
      cause: error,
    });
  }
}
