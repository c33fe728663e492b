// The source beside the timeline: which line runs, in which lane, with the list before and after it.
// The server highlights the lines, and the player decides which moment is shown.

import { byId, make } from "./dom.js";
import { time } from "./recording.js";
import { getSources } from "./server.js";

export class SourceView {
  /** `onMoment(event)` is called to go to an event of a line, `onRan(events)` with all of a chosen line. */
  constructor({ onMoment, onRan }) {
    this.onMoment = onMoment;
    this.onRan = onRan;
    this.rows = new Map();
    this.lit = [];
    byId("code").addEventListener("click", (event) => {
      const row = event.target.closest(".line.ran");
      if (row && !getSelection().toString()) this.choose(row);
    });
  }

  /** Show the source of a part's contender, with how often each line ran. */
  async show(part) {
    this.part = part;
    this.chosen = null;
    const files = await getSources(part.contender);
    if (this.part !== part) return;
    const ran = Map.groupBy(part.lines, ({ file, line }) => `${file}:${line}`);
    this.states = statesOf(part);
    this.rows.clear();
    const sections = Map.groupBy(files, ({ file }) => file);
    byId("code").replaceChildren(...[...sections].map(([file, ranges]) => this.fileOf(file, ranges, ran)));
    byId("code").scrollTop = 0;
    this.lit = [];
    this.tell(null);
  }

  fileOf(file, ranges, ran) {
    const rows = ranges.flatMap(({ first, html }, index) => [
      ...(index ? [make("div", { className: "gap", aria: { hidden: "true" } }, "⋯")] : []),
      ...html.map((code, offset) => this.lineOf(file, first + offset, code, ran)),
    ]);
    return make("section", { aria: { label: file } }, make("h3", {}, file), ...rows);
  }

  lineOf(file, line, code, ran) {
    const row = this.rowOf(file, line, code, ran.get(`${file}:${line}`) ?? []);
    this.rows.set(`${file}:${line}`, row);
    return row;
  }

  rowOf(file, line, code, events) {
    const number = events.length
      ? make("button", { type: "button", className: "at", aria: { label: `Line ${line} of ${file}, ran ${times(events.length)}` } }, String(line))
      : make("span", { className: "at" }, String(line));
    const row = make(
      "div",
      { className: events.length ? "line ran" : "line" },
      number,
      make("span", { className: "count", aria: { hidden: "true" } }, events.length ? `${events.length}×` : ""),
      indented(make("code", { innerHTML: code || " " })),
      make("span", { className: "who" }),
    );
    Object.assign(row, { events, file, number: line });
    return row;
  }

  /** Light the current line of each lane after the first `count` lines, and the last one most. */
  light(count) {
    for (const row of this.lit) {
      row.classList.remove("now", "held", "loop", "worker");
      row.querySelector(".who").textContent = "";
      row.removeAttribute("aria-current");
    }
    this.lit = [];
    const lines = this.part?.lines ?? [];
    const seen = new Set();
    for (let at = count - 1; at >= 0 && at >= count - 200; at -= 1) {
      const line = lines[at];
      if (seen.has(line.lane)) continue;
      this.lightLine(line, seen.size === 0);
      seen.add(line.lane);
    }
    this.tellList(lines, count);
  }

  lightLine({ file, line, lane }, isLast) {
    const row = this.rows.get(`${file}:${line}`);
    if (!row) return;
    const who = row.querySelector(".who");
    who.textContent = who.textContent ? `${who.textContent}, ${lane}` : lane;
    if (!row.classList.contains("now")) row.classList.add(isLast ? "now" : "held");
    row.classList.add(lane === "loop" ? "loop" : "worker");
    this.lit.push(row);
    if (!isLast) return;
    row.setAttribute("aria-current", "step");
    bringIntoView(row);
  }

  /** Show the list before the last line ran and after it, which is before the next one. */
  tellList(lines, count) {
    byId("list").hidden = !count;
    if (!count) return;
    const before = this.states[count - 1];
    const after = this.states[count] ?? before;
    const head = make("div", { className: "row head" }, make("span", {}, "this line"), make("span", {}, "tasks that have started"), make("span", {}, "tasks still in the list"));
    byId("list").replaceChildren(head, stateOf("before", before, before), stateOf("after", after, before));
  }

  /** Say when the chosen line ran; each time is a link to that moment. */
  choose(row) {
    this.chosen?.classList.remove("chosen");
    this.chosen = this.chosen === row ? null : row;
    this.chosen?.classList.add("chosen");
    this.tell(this.chosen);
  }

  tell(row) {
    byId("when").hidden = !row;
    this.onRan(row?.events ?? []);
    if (!row) return;
    const shown = row.events.slice(0, 12).map((event) =>
      make("button", { type: "button", className: "link", onclick: () => this.onMoment(event) }, `${time(event.t)} ${event.lane}`),
    );
    const rest = row.events.length - shown.length;
    byId("when").replaceChildren(`Line ${row.number} of ${row.file} ran ${times(row.events.length)}: `, ...shown, rest > 0 ? ` and ${rest} more` : "");
  }
}

/**
 * The state of the list before each line; null until a line has read the list. A task that the run has
 * taken out has started, unless the run gave it up; Starlette's run leaves all tasks in the list.
 */
function statesOf(part) {
  const given = new Set(part.unstarted.map(({ task }) => `task ${task + 1}`));
  const seen = new Set();
  return part.lines.map(({ list }) => {
    for (const task of [...list.started, ...list.waiting]) seen.add(task);
    const isWaiting = (task) => list.waiting.includes(task) && !list.started.includes(task);
    const started = [...seen].filter((task) => list.started.includes(task) || !(isWaiting(task) || given.has(task)));
    return seen.size ? { started, waiting: list.waiting.filter(isWaiting) } : null;
  });
}

const times = (count) => (count === 1 ? "once" : `${count} times`);

/** A row that shows a state of the list; the state is null if no line has read the list yet. */
function stateOf(when, state, before) {
  if (!state) {
    const unread = make("span", { className: "side none" }, "not read yet");
    return make("div", { className: "row" }, make("span", { className: "when" }, when), unread);
  }
  const side = (name) => {
    const chips = state[name].map((task) =>
      make("span", { className: !before || before[name].includes(task) ? "chip" : "chip moved" }, task),
    );
    return make("span", { className: "side" }, ...(chips.length ? chips : [make("span", { className: "none" }, "none")]));
  };
  return make("div", { className: "row" }, make("span", { className: "when" }, when), side("started"), side("waiting"));
}

/** What does not fit into a line goes on below it, further in. */
function indented(code) {
  code.style.setProperty("--depth", `${code.textContent.search(/\S|$/)}ch`);
  return code;
}

/** Scroll the code, not the page. */
function bringIntoView(row) {
  const code = byId("code");
  const [box, inner] = [code.getBoundingClientRect(), row.getBoundingClientRect()];
  if (inner.top >= box.top + 40 && inner.bottom <= box.bottom - 40) return;
  const top = code.scrollTop + inner.top - box.top - box.height / 3;
  code.scrollTop = top;  // at once: a smooth scroll would lag behind a visitor who steps fast
}
