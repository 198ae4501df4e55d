/**
 * What runs in the page of a report. The page holds this function's own text, so nothing outside of it may be used: no imports, no
 * helpers of this module.
 */
import type { ProgramReport } from "./data.ts";

/** A row of the report's visits, with its whole state. */
interface Visit {
  readonly visit: number;
  readonly slot: number;
  readonly parent: number;
  readonly kept: boolean;
  readonly frame: number;
  readonly state: readonly number[];
}

export function client(): void {
  const data = [...document.querySelectorAll("script.data")].map((element) => ({
    element,
    program: element.getAttribute("data-program") ?? "",
    verdict: element.getAttribute("data-verdict") ?? "",
  }));
  const reportOf = (name: string): ProgramReport => {
    const { element } = data.find(({ program }) => program === name) ?? (data[0] as (typeof data)[number]);
    return JSON.parse(element.textContent ?? "") as ProgramReport;
  };
  const find = (selector: string): HTMLElement => document.querySelector(selector) as HTMLElement;

  /** An element with attributes and children. */
  const make = (
    tag: string,
    attributes: Record<string, string | undefined> = {},
    ...children: (Node | string)[]
  ): HTMLElement => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes))
      if (value !== undefined) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const svg = (
    tag: string,
    attributes: Record<string, string | number>,
    ...children: (Node | string)[]
  ): SVGElement => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    element.append(...children);
    return element;
  };
  const onClick = <T extends Element>(element: T, action: () => void): T => {
    element.addEventListener("click", action);
    return element;
  };
  const count = (value: number, what: string): string => `${value} ${what}${value === 1 ? "" : "s"}`;

  let report: ProgramReport;
  let byVisit = new Map<number, Visit>();
  let bySlot = new Map<number, Visit[]>();
  let onPath = new Set<number>();
  let pathSlots = new Set<number>();
  let selected = -1;
  let slot = -1;

  const place = (file: string, line: number): string => `${file.slice(file.lastIndexOf("/") + 1)}:${line}`;

  function showProgram(name: string): void {
    report = reportOf(name);
    byVisit = new Map();
    bySlot = new Map();
    let state: readonly number[] = [];
    for (const [visit, at, parent, kept, frame, [begin = 0, end = 0, ...between]] of report.visits) {
      state = [...state.slice(0, begin), ...between, ...state.slice(state.length - end)];
      const row = { visit, slot: at, parent, kept: kept === 1, frame, state };
      byVisit.set(visit, row);
      const seen = bySlot.get(at);
      if (seen === undefined) bySlot.set(at, [row]);
      else seen.push(row);
    }
    onPath = new Set(report.path);
    pathSlots = new Set(report.path.map((visit) => byVisit.get(visit)?.slot ?? -1));
    for (const tab of document.querySelectorAll("#programs button")) {
      tab.setAttribute(
        "aria-current",
        String(
          tab.textContent?.includes(report.program) === true &&
            tab.getAttribute("data-program") === report.program,
        ),
      );
    }
    showVerdict();
    showSource();
    showInstructions();
    showGraphs();
    find("#log").textContent = report.log;
    const last = report.path.at(-1);
    if (last !== undefined) selectVisit(last);
    else selectSlot(report.instructions[0]?.slot ?? 0);
  }

  function showVerdict(): void {
    const { verdict, errno, reason, statistics, explanation } = report;
    const box = find("#verdict");
    box.className = verdict;
    box.replaceChildren(
      make(
        "h2",
        {},
        make("span", { class: "badge" }, verdict),
        ` ${report.program} `,
        make("small", {}, report.section),
      ),
      make(
        "p",
        { class: "work" },
        `${count(statistics.processedInstructions, "instruction")} processed, ${count(statistics.totalStates, "state")} kept, stack ${statistics.stackDepths.join("+") || "0"} bytes` +
          (report.visits.length < report.visitCount
            ? `; states of ${report.visits.length} of ${report.visitCount} visits are in this page`
            : ""),
      ),
    );
    if (verdict !== "accepted")
      box.append(make("p", { class: "message" }, `${errno === "" ? "" : `${errno}: `}${reason}`));
    if (explanation === undefined) return;
    const { title, cause, missing, code, artefact, at, subject, origin, page } = explanation;
    box.append(
      make("h3", {}, `${title}${at === undefined ? "" : `, ${place(at.file, at.line)}`}`),
      make("p", {}, cause),
    );
    if (artefact !== undefined)
      box.append(
        make(
          "p",
          { class: "artefact" },
          `The source looks right, the compiler's code is the problem: ${artefact}.`,
        ),
      );
    box.append(make("p", {}, make("b", {}, "Missing: "), missing));
    if (code !== "") box.append(make("pre", { class: "code" }, code));
    if (subject !== undefined && origin.length > 0) {
      const list = make("ol", { class: "origin" });
      for (const step of origin) {
        list.append(
          onClick(
            make(
              "li",
              {},
              make(
                "span",
                { class: "where" },
                step.place.line === 0 ? `${step.place.slot}` : place(step.place.file, step.place.line),
              ),
              ` ${step.what}`,
            ),
            () => selectOnPath(step.place.slot),
          ),
        );
      }
      box.append(
        make("details", { open: "" }, make("summary", {}, `Where ${subject.location} came from`), list),
      );
    }
    box.append(make("p", { class: "more" }, `More: ${page}`));
  }

  function showSource(): void {
    const pane = find("#source .rows");
    const rows: Node[] = [];
    const first = new Map<number, number>();
    for (const { slot: at, line } of report.instructions)
      if (line >= 0 && !first.has(line)) first.set(line, at);
    const lines = report.lines.map((line, index) => ({ ...line, index }));
    lines.sort((one, other) =>
      one.file === other.file ? one.line - other.line : one.file < other.file ? -1 : 1,
    );
    let file = "";
    let before = 0;
    for (const { file: name, line, text, index } of lines) {
      if (name !== file) rows.push(make("div", { class: "file" }, name));
      else if (line > before + 1) rows.push(make("div", { class: "gap" }));
      file = name;
      before = line;
      rows.push(
        onClick(
          make(
            "div",
            { class: "row", "data-line": String(index) },
            make("span", { class: "number" }, String(line)),
            make("code", {}, text.replace(/\t/g, "    ")),
          ),
          () => selectSlot(first.get(index) ?? 0),
        ),
      );
    }
    if (rows.length === 0)
      rows.push(make("p", { class: "empty" }, "The object has no source lines (compile with -g)."));
    pane.replaceChildren(...rows);
    const error = report.explanation?.at;
    if (error === undefined) return;
    const hit = lines.find(({ file: name, line }) => name === error.file && line === error.line);
    if (hit !== undefined) pane.querySelector(`[data-line="${hit.index}"]`)?.classList.add("error");
  }

  function showInstructions(): void {
    const failing = byVisit.get(report.path.at(-1) ?? -1)?.slot;
    find("#instructions .rows").replaceChildren(
      ...report.instructions.map(({ slot: at, text, visits }) => {
        const row = make(
          "div",
          {
            class: `row${pathSlots.has(at) ? " path" : ""}${at === failing ? " error" : ""}${visits === 0 ? " unvisited" : ""}`,
            "data-slot": String(at),
          },
          make("span", { class: "number" }, String(at)),
          make("code", {}, text),
          make("span", { class: "visits", title: "visits" }, visits === 0 ? "" : `×${visits}`),
        );
        return onClick(row, () => selectSlot(at));
      }),
    );
  }

  function showGraphs(): void {
    find("#graph .rows").replaceChildren(...report.graphs.map(graph));
  }

  function graph({
    function: name,
    width,
    height,
    blocks,
    routes,
  }: ProgramReport["graphs"][number]): HTMLElement {
    const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    drawing.append(
      svg(
        "defs",
        {},
        svg(
          "marker",
          {
            id: "arrow",
            viewBox: "0 0 8 8",
            refX: 7,
            refY: 4,
            markerWidth: 7,
            markerHeight: 7,
            orient: "auto-start-reverse",
          },
          svg("path", { d: "M0 0 8 4 0 8z" }),
        ),
      ),
    );
    const walked = new Set<string>();
    const blockOf = (at: number): number =>
      blocks.find(({ first, last }) => at >= first && at <= last)?.id ?? -1;
    for (let index = 1; index < report.path.length; index++) {
      const from = byVisit.get(report.path[index - 1] as number)?.slot ?? -1;
      const to = byVisit.get(report.path[index] as number)?.slot ?? -1;
      walked.add(`${blockOf(from)} ${blockOf(to)}`);
    }
    for (const { from, to, back, points, kind } of routes) {
      let path = "";
      for (const [index, [x, y]] of points.entries()) {
        const previous = points[index - 1];
        if (previous === undefined) path += `M${x} ${y}`;
        else {
          const middle = (previous[1] + y) / 2;
          path += previous[0] === x ? `L${x} ${y}` : `C${previous[0]} ${middle} ${x} ${middle} ${x} ${y}`;
        }
      }
      const used = walked.has(`${from} ${to}`) ? " path" : "";
      const edge = svg("path", { class: `edge ${kind}${back ? " back" : ""}${used}`, d: path });
      edge.setAttribute(back ? "marker-start" : "marker-end", "url(#arrow)");
      drawing.append(edge);
    }
    const failing = byVisit.get(report.path.at(-1) ?? -1)?.slot ?? -1;
    for (const { first, last, x, y, width: wide, height: high, label, visits } of blocks) {
      const on = report.path.some((visit) => {
        const at = byVisit.get(visit)?.slot ?? -1;
        return at >= first && at <= last;
      });
      const group = svg("g", {
        class: `block${on ? " path" : ""}${failing >= first && failing <= last ? " error" : ""}${visits === 0 ? " unvisited" : ""}`,
        "data-first": first,
        "data-last": last,
        transform: `translate(${x} ${y})`,
      });
      group.append(svg("rect", { width: wide, height: high, rx: 4 }));
      for (const [index, text] of label.entries()) {
        group.append(
          svg(
            "text",
            { x: 8, y: 18 + index * 14, class: index === 0 ? "slots" : "source" },
            index === 0 && visits > 0 ? `${text}  ×${visits}` : text,
          ),
        );
      }
      drawing.append(onClick(group, () => selectSlot(first)));
    }
    return make("figure", {}, make("figcaption", {}, `${name || report.program}()`), drawing);
  }

  /** Shows an instruction, and the visit of it that says most. */
  function selectSlot(at: number): void {
    slot = at;
    const visits = bySlot.get(at) ?? [];
    const best = visits.find(({ visit }) => onPath.has(visit)) ?? visits[0];
    if (best === undefined) {
      selected = -1;
      update();
    } else selectVisit(best.visit);
  }

  function selectOnPath(at: number): void {
    const visit = report.path.findLast((one) => byVisit.get(one)?.slot === at);
    if (visit === undefined) selectSlot(at);
    else selectVisit(visit);
  }

  function selectVisit(visit: number): void {
    const row = byVisit.get(visit);
    if (row === undefined) return;
    selected = visit;
    slot = row.slot;
    update();
  }

  function link(visit: number, text = `visit ${visit}`): HTMLElement {
    return byVisit.has(visit)
      ? onClick(make("button", { class: "link" }, text), () => selectVisit(visit))
      : make("span", {}, text);
  }

  function update(): void {
    for (const row of document.querySelectorAll(".selected")) row.classList.remove("selected");
    const instruction = report.instructions.find((one) => one.slot === slot);
    for (const target of [
      document.querySelector(`#instructions [data-slot="${slot}"]`),
      document.querySelector(`#source [data-line="${instruction?.line ?? -1}"]`),
      [...document.querySelectorAll("#graph .block")].find(
        (block) =>
          Number(block.getAttribute("data-first")) <= slot && slot <= Number(block.getAttribute("data-last")),
      ),
    ]) {
      if (target === null || target === undefined) continue;
      target.classList.add("selected");
      const pane = target.closest(".rows");
      if (pane === null) continue;
      // Only the pane scrolls, not the page.
      const inner = target.getBoundingClientRect();
      const outer = pane.getBoundingClientRect();
      if (inner.top < outer.top || inner.bottom > outer.bottom)
        pane.scrollTop += inner.top - outer.top - outer.height / 3;
      if (inner.left < outer.left || inner.right > outer.right)
        pane.scrollLeft += inner.left - outer.left - outer.width / 3;
    }
    showState();
    const at = report.path.indexOf(selected);
    find("#step").textContent =
      report.path.length === 0 ? "" : `failing path: step ${at < 0 ? "–" : at + 1} of ${report.path.length}`;
    find("#walk").hidden = report.path.length === 0;
    history.replaceState(
      null,
      "",
      `#p=${encodeURIComponent(report.program)}&${selected < 0 ? `i=${slot}` : `v=${selected}`}`,
    );
  }

  function showState(): void {
    const pane = find("#state .rows");
    const row = byVisit.get(selected);
    if (row === undefined) {
      pane.replaceChildren(
        make(
          "p",
          { class: "empty" },
          slot < 0
            ? ""
            : `Instruction ${slot}: no visit is shown; nothing reached it, or the walk was too long.`,
        ),
      );
      return;
    }
    const before = new Set(byVisit.get(row.parent)?.state.map((number) => report.strings[number] ?? ""));
    const table = make("table", {});
    for (const number of row.state) {
      const text = report.strings[number] ?? "";
      const split = text.indexOf("=");
      const changed = row.parent >= 0 && !before.has(text);
      table.append(
        make(
          "tr",
          { class: changed ? "changed" : undefined },
          make("th", {}, text.slice(0, split)),
          make("td", {}, text.slice(split + 1)),
        ),
      );
    }
    const instruction = report.instructions.find((one) => one.slot === slot);
    const notes: Node[] = [];
    const ends = report.ends.filter(({ from }) => from === selected);
    for (const { kind, by, slot: where } of ends) {
      notes.push(
        kind === "exit"
          ? make("li", {}, "the path ends after this instruction")
          : make(
              "li",
              { class: "pruned" },
              `the path ends before instruction ${where}: everything is covered by the state kept at `,
              link(by),
            ),
      );
    }
    const covers = report.ends.filter(({ by }) => by === selected);
    if (row.kept) {
      const text =
        covers.length === 0
          ? "a state was kept here; it has covered no other path"
          : `a state was kept here; it ended ${count(covers.length, "other path")}: `;
      const item = make("li", { class: "kept" }, text);
      for (const [index, { from }] of covers.slice(0, 20).entries())
        item.append(...(index === 0 ? [] : [", "]), link(from, `after visit ${from}`));
      notes.push(item);
    }
    const others = bySlot.get(slot) ?? [];
    const list = make("div", { class: "chips" });
    for (const { visit } of others.slice(0, 200)) {
      list.append(
        onClick(
          make(
            "button",
            { class: `chip${visit === selected ? " current" : ""}${onPath.has(visit) ? " path" : ""}` },
            String(visit),
          ),
          () => selectVisit(visit),
        ),
      );
    }
    const children = [...byVisit.values()].filter(({ parent }) => parent === selected);
    pane.replaceChildren(
      make("h3", {}, `Before instruction ${slot}, visit ${selected}`),
      make("p", {}, make("code", {}, instruction?.text ?? "")),
      make(
        "p",
        { class: "moves" },
        "from ",
        row.parent < 0 ? "the beginning" : link(row.parent),
        ...(children.length === 0
          ? []
          : [
              " to ",
              ...children.flatMap(({ visit }, index) => [...(index === 0 ? [] : [" and "]), link(visit)]),
            ]),
      ),
      table,
      make("ul", { class: "notes" }, ...notes),
      make("h4", {}, `${count(others.length, "visit")} of this instruction`),
      list,
    );
  }

  function walk(step: number): void {
    const at = report.path.indexOf(selected);
    const next = at < 0 ? report.path.length - 1 : Math.max(0, Math.min(report.path.length - 1, at + step));
    const visit = report.path[next];
    if (visit !== undefined) selectVisit(visit);
  }

  for (const one of data) {
    find("#programs").append(
      onClick(make("button", { class: one.verdict, "data-program": one.program }, one.program), () =>
        showProgram(one.program),
      ),
    );
  }
  for (const [id, step] of [
    ["#first", Number.NEGATIVE_INFINITY],
    ["#back", -1],
    ["#forward", 1],
    ["#last", Number.POSITIVE_INFINITY],
  ] as const) {
    onClick(find(id), () => walk(step));
  }
  document.addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft") walk(-1);
    else if (key === "ArrowRight") walk(1);
  });
  const wanted = new URLSearchParams(location.hash.slice(1));
  const visit = wanted.get("v");
  const instruction = wanted.get("i");
  showProgram(
    wanted.get("p") ?? data.find(({ verdict }) => verdict === "rejected")?.program ?? data[0]?.program ?? "",
  );
  if (visit !== null) selectVisit(Number(visit));
  if (instruction !== null) selectSlot(Number(instruction));
}
