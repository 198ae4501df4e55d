/** How the page of a report looks, in light and in dark. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1f2328; --soft: #656d76; --line: #d8dee4; --pane: #f6f8fa; --select: #ddf4ff; --path: #fff3d6; --bad: #cf222e;
  --bad-paper: #ffebe9; --good: #1a7f37; --warn: #9a6700; --link: #0969da;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0d1117; --ink: #e6edf3; --soft: #8d96a0; --line: #30363d; --pane: #161b22; --select: #12324f; --path: #362a10; --bad: #ff7b72;
    --bad-paper: #3b1518; --good: #3fb950; --warn: #d29922; --link: #58a6ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; font: 14px/1.5 system-ui, sans-serif; background: var(--paper); color: var(--ink); }
code, pre, table, .number, text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: 12px; }
header { display: flex; gap: 16px; align-items: baseline; flex-wrap: wrap; padding: 10px 16px; border-bottom: 1px solid var(--line); }
header h1 { font-size: 16px; margin: 0; }
#programs { display: flex; gap: 6px; flex-wrap: wrap; }
button { font: inherit; color: inherit; background: var(--pane); border: 1px solid var(--line); border-radius: 6px; padding: 2px 10px; cursor: pointer; }
#programs button::before { content: "●"; margin-right: 6px; font-size: 10px; }
#programs .accepted::before { color: var(--good); } #programs .rejected::before { color: var(--bad); } #programs .unknown::before { color: var(--warn); }
#programs [aria-current="true"] { background: var(--select); border-color: var(--link); }
button.link { background: none; border: 0; padding: 0; color: var(--link); text-decoration: underline; }
#verdict { margin: 14px 16px; padding: 10px 16px; border: 1px solid var(--line); border-left: 4px solid var(--good); border-radius: 6px; }
#verdict.rejected { border-left-color: var(--bad); } #verdict.unknown { border-left-color: var(--warn); }
#verdict h2 { margin: 0; font-size: 16px; } #verdict h2 small { color: var(--soft); font-weight: normal; }
#verdict h3 { margin: 10px 0 2px; font-size: 15px; } #verdict p { margin: 4px 0; max-width: 110ch; }
.badge { color: #fff; background: var(--good); border-radius: 10px; padding: 0 10px; font-size: 13px; }
.rejected .badge { background: var(--bad); } .unknown .badge { background: var(--warn); }
.work, .more { color: var(--soft); font-size: 13px; } .message { font-family: ui-monospace, monospace; font-size: 13px; color: var(--bad); }
.artefact { color: var(--warn); }
pre.code { background: var(--pane); border-radius: 6px; padding: 8px 12px; margin: 6px 0; overflow-x: auto; }
.origin { margin: 4px 0; padding-left: 26px; } .origin li { cursor: pointer; } .origin li:hover { background: var(--select); }
.where { color: var(--link); }
#walk { display: flex; gap: 6px; align-items: center; margin: 0 16px 8px; }
#walk[hidden] { display: none; } #step { color: var(--soft); margin-left: 8px; }
.panes { display: grid; grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr) minmax(0, 1fr); gap: 12px; margin: 0 16px; }
.pane { border: 1px solid var(--line); border-radius: 6px; overflow: hidden; display: flex; flex-direction: column; }
.pane > h2 { font-size: 13px; margin: 0; padding: 6px 12px; background: var(--pane); border-bottom: 1px solid var(--line); }
.rows { overflow: auto; max-height: 62vh; min-height: 8em; position: relative; }
.row { display: flex; gap: 10px; padding: 0 10px; cursor: pointer; white-space: pre; min-width: max-content; }
.row:hover { background: var(--pane); }
.row .number { color: var(--soft); min-width: 4ch; text-align: right; user-select: none; }
.row .visits { margin-left: auto; color: var(--soft); font-size: 11px; padding-left: 12px; }
.row.path { background: var(--path); } .row.unvisited { opacity: 0.5; } .row.selected { background: var(--select); }
.row.error { box-shadow: inset 3px 0 var(--bad); background: var(--bad-paper); } .row.error.selected { background: var(--select); }
.file { padding: 4px 10px; color: var(--soft); font-size: 12px; } .gap { height: 6px; }
#state .rows { padding: 8px 12px; } #state h3 { margin: 0 0 4px; font-size: 14px; } #state h4 { margin: 10px 0 4px; font-size: 13px; } #state p { margin: 4px 0; }
#state table { border-collapse: collapse; margin: 6px 0; width: 100%; }
#state th { white-space: nowrap; text-align: left; vertical-align: top; padding: 1px 10px 1px 6px; font-weight: 600; } #state td { padding: 1px 6px; overflow-wrap: anywhere; }
#state tr.changed { background: var(--path); }
.notes { padding-left: 18px; margin: 6px 0; } .pruned { color: var(--warn); } .kept { color: var(--good); }
.chips { display: flex; flex-wrap: wrap; gap: 4px; }
.chip { padding: 0 7px; font-size: 12px; } .chip.path { background: var(--path); } .chip.current { border-color: var(--link); background: var(--select); }
.wide { margin: 12px 16px; } #graph .rows { max-height: 80vh; padding: 8px; }
figure { margin: 0 0 16px; } figcaption { color: var(--soft); font-size: 13px; margin: 0 0 4px 4px; }
.block { cursor: pointer; } .block rect { fill: var(--pane); stroke: var(--line); } .block text { fill: var(--ink); font-size: 10.5px; }
.block .slots { font-weight: 600; } .block.path rect { fill: var(--path); stroke: var(--warn); } .block.unvisited { opacity: 0.45; }
.block.error rect { fill: var(--bad-paper); stroke: var(--bad); stroke-width: 2; } .block.selected rect { stroke: var(--link); stroke-width: 2.5; }
.edge { fill: none; stroke: var(--soft); stroke-width: 1.2; } .edge.jump { stroke-dasharray: 5 3; } .edge.back { stroke: var(--link); }
.edge.path { stroke: var(--bad); stroke-width: 2; stroke-dasharray: none; } marker path { fill: var(--soft); }
details > summary { cursor: pointer; font-weight: 600; } #log { overflow: auto; max-height: 60vh; padding: 8px 12px; margin: 0; }
.empty { color: var(--soft); padding: 8px; } .legend { color: var(--soft); font-size: 12px; font-weight: normal; margin-left: 12px; }
@media (max-width: 1000px) { .panes { grid-template-columns: minmax(0, 1fr); } .rows { max-height: 40vh; } }
`;
