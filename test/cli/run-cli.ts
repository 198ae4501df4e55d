/** The command in this process, its output collected. */
import { main } from "../../src/cli/main.ts";
import type { Terminal } from "../../src/cli/terminal.ts";

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function skep(...args: string[]): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  const terminal: Terminal = {
    line(text = "") {
      stdout += `${text}\n`;
    },
    write(text) {
      stdout += text;
    },
    note(text) {
      stderr += `${text}\n`;
    },
    style: (_style, text) => text,
    progress: () => undefined,
  };
  const status = await main(args, terminal);
  return { status, stdout, stderr };
}
