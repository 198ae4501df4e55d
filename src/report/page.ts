/** The page of a report: one file with data, style and script, that needs no network. */
import { client } from "./client.ts";
import type { ProgramReport } from "./data.ts";
import { STYLE } from "./style.ts";

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escape(text: string): string {
  return text.replaceAll(/[&<>"]/g, (char) => ESCAPES[char] ?? char);
}

/** JSON in which no text can end the element that it stands in. */
function embed(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll("<", "\\u003c")
    .replaceAll("\u2028", "\\u2028")
    .replaceAll("\u2029", "\\u2029");
}

/** A program's data in an element of its own: the page reads only those that are looked at (all of an object can be megabytes). */
function dataOf(report: ProgramReport): string {
  const { program, verdict } = report;
  return `<script class="data" type="application/json" data-program="${escape(program)}" data-verdict="${escape(verdict)}">${embed(report)}</script>`;
}

/**
 * The report on the programs of an object as one HTML page. Everything is in it; texts of the object reach the page as text, never as
 * markup.
 *
 * @example
 * writeFileSync("report.html", reportPage("firewall.bpf.o", [reportOf(input, verdict, "xdp", undefined)]));
 */
export function reportPage(object: string, programs: readonly ProgramReport[]): string {
  const title = `skep verify ${escape(object)}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<header><h1>${title}</h1><nav id="programs" aria-label="programs"></nav></header>
<section id="verdict"></section>
<div id="walk" hidden>
<button id="first" title="beginning of the failing path">|◀</button>
<button id="back" title="one step back (left arrow)">◀</button>
<button id="forward" title="one step on (right arrow)">▶</button>
<button id="last" title="where it fails">▶|</button>
<span id="step"></span>
</div>
<main class="panes">
<section class="pane" id="source"><h2>Source</h2><div class="rows"></div></section>
<section class="pane" id="instructions"><h2>Instructions<span class="legend">yellow: the path to the error; ×n: visits</span></h2><div class="rows"></div></section>
<section class="pane" id="state"><h2>State<span class="legend">yellow: changed by the step before</span></h2><div class="rows"></div></section>
</main>
<section class="pane wide" id="graph"><h2>Control flow<span class="legend">dashed: jump taken; blue: back; red: the path to the error</span></h2><div class="rows"></div></section>
<section class="wide"><details><summary>Log of the verifier</summary><pre id="log"></pre></details></section>
${programs.map(dataOf).join("\n")}
<script>(${client.toString()})();</script>
</body>
</html>
`;
}
