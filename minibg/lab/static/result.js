// A recording on the page: pictures, verdicts, tables, differences, legend, player and source.
// It does not know where recordings come from.

import { byId, calm, make, prose } from "./dom.js";
import { save, svgOf } from "./export.js";
import { Player } from "./player.js";
import { time, verdictOf } from "./recording.js";
import { sentenceOf } from "./request.js";
import { byEvents, byTime } from "./scale.js";
import { SourceView } from "./source.js";
import { fillTable, textOf } from "./table.js";
import { GLYPHS, Timeline, kindOf, slug } from "./timeline.js";

const FRAME = 40;
const BARS = [
  ["client", "client waits"],
  ["task", "task"],
  ["task failed", "task that failed"],
  ["task cut-off", "task cut off"],
  ["task never-ended", "task that never ended"],
  ["endpoint", "endpoint"],
  ["not-recorded", "not recorded"],
  ["dependency", "dependency"],
  ["on-error", "on_error"],
];

export class Result {
  constructor() {
    this.views = [];
    this.player = new Player({ onMove: (moment) => this.move(moment) });
    this.source = new SourceView({
      onMoment: (line) => this.player.find(({ of }) => of === line),
      onRan: (lines) => this.active?.timeline.showRan(lines),
    });
    new ResizeObserver(() => this.redraw()).observe(byId("parts"));
    byId("axis").addEventListener("click", () => {
      this.byEvents = !this.byEvents;
      byId("axis").setAttribute("aria-pressed", String(this.byEvents));
      this.redraw();
    });
    byId("save-svg").addEventListener("click", () => this.saveSvg());
    byId("save-text").addEventListener("click", () => this.saveText());
  }

  /** Show this recording from now on; `title` names it, `see` says what to look for. */
  show(recording, { title, see = "", preset = null }) {
    this.recording = recording;
    this.title = title;
    this.preset = preset;
    this.player.load([], 0);
    this.told = false;
    byId("run-title").textContent = title;
    byId("run-request").textContent = recording.request ? sentenceOf(recording.request) : "";
    byId("run-request").hidden = byId("share").hidden = !recording.request;
    byId("see-run").replaceChildren(...prose(see));
    const since = recording.request ? "the client sent its request" : "the request arrived";
    byId("axis-note").textContent = `Milliseconds since ${since}. This is one run: the order counts, not the exact times.`;
    byId("source").hidden = true;
    this.leave();
    this.layOut();
    this.redraw();
  }

  /** Something else is shown, or will be. */
  leave() {
    this.player.pause();
    byId("page").classList.remove("stepped", "stepping");
  }

  /** Turn from the lines of a stepped run to the form, or back; returns whether it is the lines. */
  toggleLines() {
    const isLines = byId("page").classList.toggle("stepped");
    this.sayEdit();
    this.redraw();
    return isLines;
  }

  sayEdit() {
    const isLines = byId("page").classList.contains("stepped");
    byId("edit").textContent = isLines ? "Change the request" : "Back to the lines";
  }

  layOut() {
    byId("differences").replaceChildren();
    byId("legend").replaceChildren();
    this.views = [...this.recording.parts.values()].map((part) => this.viewOf(part));
    byId("parts").replaceChildren(...this.views.map(({ section }) => section));
  }

  viewOf(part) {
    const table = make("table", { className: "heard" });
    const toggle = make("button", { type: "button", className: "quiet", aria: { pressed: "false" } }, "Table");
    toggle.addEventListener("click", () => {
      const isShown = table.classList.toggle("heard");
      toggle.setAttribute("aria-pressed", String(!isShown));
    });
    const verdict = make("p", { className: "verdict" });
    const figure = make("div", { className: "picture" });
    const head = make("header", {}, make("h3", {}, part.title), verdict, toggle);
    const section = make("section", { className: "part", aria: { label: part.title } }, head, figure, make("div", { className: "scroll" }, table));
    const view = { part, table, verdict, section };
    view.timeline = new Timeline(figure, {
      onChoose: (t, lane) => this.jump(view, t, lane),
      onDetails: showDetails,
    });
    return view;
  }

  /** Draw the recording again, as far as it has come, in the next frame. */
  redraw() {
    if (!this.recording || this.frame) return;
    this.frame = requestAnimationFrame((at) => {
      this.frame = null;
      if (this.isLive && at - (this.drawn ?? 0) < FRAME) this.redraw();
      else this.draw(at);
    });
  }

  get isLive() {
    return !this.recording.isOver;
  }

  draw(at) {
    this.drawn = at;
    byId("save-svg").disabled = byId("save-text").disabled = this.isLive;
    const clock = performance.now();
    const nows = this.views.map(({ part }) => nowOf(part, clock));
    const end = Math.max(...nows, this.recording.last, 1) * 1.02;
    const scale = this.byEvents ? byEvents(this.recording.times, end) : byTime(end);
    const width = Math.max(byId("parts").clientWidth - 2, 240);
    this.views.forEach((view, index) => {
      view.timeline.draw(view.part, { width, scale, now: nows[index] });
      this.drawWords(view);
    });
    this.drawDifferences();
    this.drawLegend();
    if (this.isLive && !calm.matches) this.redraw();
    if (!this.isLive && !this.told) this.finish();
  }

  drawWords({ part, verdict, section }) {
    const sentences = verdictOf(part);
    const text = sentences.map((sentence) => sentence.text).join(" ");
    section.classList.toggle("broken", Boolean(part.error));
    if (verdict.textContent === text && text) return;
    const words = sentences.flatMap(({ text: words, tone }) => [make("span", { className: tone }, words), " "]);
    const waits = part.last ? "Running…" : "Waiting for its turn…";
    verdict.replaceChildren(...(words.length ? words : [part.ended ? "" : waits]));
  }

  drawDifferences() {
    const list = byId("differences");
    const { differences, titles } = this.recording;
    if (list.children.length === differences.length) return;
    const names = new Map(titles);
    const items = differences.map(({ contenders, name, rule, what }) => {
      const who = contenders.map((id) => names.get(id) ?? id).join(", ");
      const label = make("div", {}, make("strong", {}, name), make("small", {}, name === rule ? "a rule" : `rule: ${rule}`));
      label.title = "The rules are listed in README.md and walkthrough.md.";
      return make("li", {}, label, make("p", {}, titles.length > 2 ? make("small", {}, `${who}: `) : null, ...prose(what)));
    });
    list.replaceChildren(...items);
  }

  drawLegend() {
    const unnamed = this.views.flatMap(({ timeline }) => timeline.unnamed);
    const bars = BARS.filter(([className]) => unnamed.includes(className));
    const marks = Object.keys(GLYPHS).filter((what) => unnamed.includes(what));
    const key = JSON.stringify([bars, marks, this.recording.differences.length]);
    if (this.legend === key && byId("legend").children.length) return;
    this.legend = key;
    byId("legend").innerHTML = [
      ...bars.map(([className, name]) => sample(`<g class="bar ${className.includes(" ") ? className : `${className} ended`}"><rect class="box" x="1" y="2" width="20" height="12" rx="3"/></g>`, name)),
      ...marks.map((what) => sample(`<g class="mark ${slug(what)}"><path class="glyph" d="${GLYPHS[what]}" transform="translate(11 8)"/></g>`, LEGEND[what] ?? what)),
      ...(this.views.some(({ part }) => part.differing.size) ? [sample('<rect class="differs" x="2" y="2" width="18" height="12" rx="4"/>', "a task in which they differ")] : []),
    ].join("");
  }

  /** The run is over: fill the tables, and hand its moments to the player. */
  finish() {
    this.told = true;
    for (const { table, part } of this.views) fillTable(table, part);
    if (performance.getEntriesByName("last event").length) performance.measure("drawn", "last event");
    byId("source").hidden = false;
    this.drawSwitch();
    this.activate(this.views.find(({ part }) => part.lines.length) ?? this.views[0]).then(() => {
      const isStepped = byId("page").classList.contains("stepping");
      if (isStepped && matchMedia("(max-width: 880px)").matches) byId("stepping").scrollIntoView();
    });
  }

  drawSwitch() {
    const stepped = this.views.filter(({ part }) => part.lines.length);
    const buttons = stepped.map((view) => {
      view.button = make("button", { type: "button", onclick: () => this.activate(view) }, view.part.title);
      return view.button;
    });
    byId("source-of").replaceChildren(...buttons);
    byId("source-of").hidden = stepped.length < 2;
    byId("page").classList.toggle("stepped", stepped.length > 0);
    byId("page").classList.toggle("stepping", stepped.length > 0);
    this.sayEdit();
    byId("source-hint").textContent = this.sourceHint(stepped.length);
    byId("code").hidden = byId("list").hidden = !stepped.length;
  }

  sourceHint(isStepped) {
    if (isStepped) return "Choose a bar to see its lines, or a line to see when it ran. Arrow keys go from line to line.";
    if (!this.recording.request) return "The lines of your own application's requests are not recorded.";
    return "This run did not record its lines. Press Step to run the request again, line by line.";
  }

  /** Step through the moments of this view's part; if it has no lines, through those of all parts. */
  async activate(view) {
    this.active = view;
    for (const one of this.views) {
      one.button?.setAttribute("aria-pressed", String(one === view));
      if (one !== view) one.timeline.showRan([]);
    }
    if (!view.part.lines.length) {
      const moments = this.views.flatMap(({ part }) => momentsOf(part, this.views.length > 1)).sort((a, b) => a.t - b.t);
      this.player.load(moments, moments.length - 1);
      return;
    }
    const moments = momentsOf(view.part, false);
    try {
      await this.source.show(view.part);
    } catch (refused) {
      byId("source-hint").textContent = refused.message;
      return;
    }
    if (this.active !== view) return;
    this.player.load(moments, firstOf(moments), "line");
    bringIntoView(view.section);
  }

  /** A moment of a stepped run is one of the active part alone: the others are shown whole. */
  move(moment) {
    const isStepped = this.active.part.lines.length > 0;
    const isLast = this.player.index === this.player.moments.length - 1;
    for (const view of this.views) {
      const isWhole = isLast || (isStepped && view !== this.active);
      view.timeline.moveTo(isWhole ? null : moment.t);
    }
    if (moment.lines !== undefined) this.source.light(moment.lines);
  }

  /** Go to the moment that was chosen in a picture; in a stepped run, to the last line before it in its lane. */
  jump(view, t, lane) {
    if (!this.told) return;
    if (!view.part.lines.length || view !== this.active) {
      if (view.part.lines.length) this.activate(view);
      else return this.player.find((moment) => moment.t >= t);
    }
    const before = view.part.lines.findLast((line) => line.lane === lane && line.t <= t);
    const line = before ?? view.part.lines.find((one) => one.t >= t) ?? view.part.lines.at(-1);
    queueMicrotask(() => setTimeout(() => this.player.find(({ of }) => of === line)));
  }

  saveSvg() {
    const request = this.recording.request ? sentenceOf(this.recording.request) : "";
    const { differences } = this.recording;
    const legend = [...byId("legend").children];
    this.keep("svg", "image/svg+xml", svgOf(this.views, { title: this.title, request, differences, legend }));
  }

  saveText() {
    const request = this.recording.request ? sentenceOf(this.recording.request) : "";
    this.keep("txt", "text/plain", textOf(this.recording, { title: this.title, request, link: this.link?.() }));
  }

  /** Save a file that is named after the preset, and say so. */
  keep(ending, type, text) {
    const name = `minibg-lab-${this.preset ?? slug(this.title)}.${ending}`;
    save(name, type, text);
    this.announce?.(`Saved as ${name}.`);
  }
}

const LEGEND = {
  "request received": "request received by the application",
  "http.response.start": "http.response.start: the server has taken status and headers",
  "http.response.body": "http.response.body: the server has taken bytes to send",
  "http.disconnect": "http.disconnect: the application hears that the client has gone",
  "first byte": "first byte at the client",
  "answer complete": "the client has the answer",
  "server gets": "an exception reaches the server",
  ERROR: "ERROR in the log",
  WARNING: "WARNING in the log",
};

const sample = (shape, name) =>
  `<li><svg class="timeline" width="22" height="16" aria-hidden="true">${shape}</svg>${name}</li>`;

/** Scroll a part's picture into view, where the pictures scroll apart from the page. */
function bringIntoView(section) {
  const seen = byId("seen");
  const [box, inner] = [seen.getBoundingClientRect(), section.getBoundingClientRect()];
  if (inner.bottom > box.bottom || inner.top < box.top) seen.scrollTop += inner.top - box.top;
}

/** Up to which time a part has run; while it runs, the page's clock says so. */
function nowOf(part, clock) {
  if (part.ended || part.offset === undefined) return part.last;
  return Math.max(clock - part.offset, part.last);
}

/** The moment at which stepping begins: the list's first line, or else the first line of all. */
function firstOf(moments) {
  const runs = moments.findIndex(({ type, of }) => type === "line" && of.function === "BackgroundTasks.__call__");
  return runs < 0 ? Math.max(moments.findIndex(({ type }) => type === "line"), 0) : runs;
}

/** A part's moments for the player, each with its text and the number of lines that have run by then. */
function momentsOf(part, isOneOfMany) {
  let lines = 0;
  const whose = isOneOfMany ? `${part.title} · ` : "";
  return part.moments.map(({ t, type, of }) => {
    if (type === "line") lines += 1;
    return { t, of, type, text: `${whose}${time(t)} · ${WORDS[type](of)}`, lines: part.lines.length ? lines : undefined };
  });
}

const WORDS = {
  begin: (span) => `${span.lane} · ${span.what}: begins`,
  finish: (span) => `${span.lane} · ${span.what}: ${span.how}`,
  mark: (mark) => `${mark.lane} · ${mark.what}`,
  log: (log) => `log · ${log.message}`,
  line: (line) => `${line.lane} · ${line.file}:${line.line}`,
};

function showDetails(details) {
  const box = byId("details");
  box.hidden = !details;
  if (!details) return;
  const rows = details.rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  box.replaceChildren(make("strong", {}, details.title), make("dl", {}, ...rows));
  const at = details.element.getBoundingClientRect();
  const { width, height } = box.getBoundingClientRect();
  const left = Math.min(Math.max(at.left, 8), innerWidth - width - 8);
  const below = at.bottom + 8;
  const top = below + height > innerHeight - 8 ? at.top - height - 8 : below;
  box.style.transform = `translate(${Math.round(left)}px, ${Math.round(Math.max(top, 8))}px)`;
}
