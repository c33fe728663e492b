// The picture of one contender's part, as SVG. It is redrawn while the run lasts, element by
// element, so that the focus and the pointer stay on theirs; a step only moves the cursor.
// layout.js decides where things are.

import { detailOf, endOf, time } from "./recording.js";
import { layoutOf } from "./layout.js";

const SVG = "http://www.w3.org/2000/svg";

/** Shapes around (0, 0), so that marks do not differ in colour alone. */
export const GLYPHS = {
  "request received": "M-4-2 0 3 4-2",
  "http.response.start": "M-3.5-4.5 4.5 0-3.5 4.5Z",
  "http.response.body": "M-4-3.5H4V3.5H-4Z",
  "http.disconnect": "M0-5 5 0 0 5-5 0Z",
  "first byte": "M-4.5 0A4.5 4.5 0 1 0 4.5 0 4.5 4.5 0 1 0-4.5 0Z",
  "answer complete": "M-5 0.5-1.5 4 5-4",
  "second answer complete": "M-5 0.5-1.5 4 5-4",
  "hung up": "M-4-4 4 4M4-4-4 4",
  "connection lost": "M-4-4 4 4M4-4-4 4",
  "connection closed": "M-4-4V4M4-4V4M-4 0H4",
  "server gets": "M0-5V1M0 4V5",
  SIGTERM: "M-4.5-4H4.5L0 4.5Z",
  killed: "M-2-5H2L5-2V2L2 5H-2L-5 2V-2Z",
  "application has returned": "M-4-4H3V4H-4",
  "server has ended": "M0-5V5M-3.5-5H3.5M-3.5 5H3.5",
  ERROR: "M-4.5-4.5H4.5V4.5H-4.5Z",
  WARNING: "M0-5 5 4.5H-5Z",
  other: "M-4 0H4M0-4V4",
};

/** The kind of a mark: its text without the name of an exception. */
export const kindOf = (what) => (what.startsWith("server gets") ? "server gets" : what);

export const slug = (what) => what.toLowerCase().replace(/[^a-z]+/g, "-");

export class Timeline {
  /** Draw in `host`; `onChoose(t, lane)` is called for a chosen element, `onDetails` for one with pointer or focus. */
  constructor(host, { onChoose, onDetails }) {
    this.onChoose = onChoose;
    this.onDetails = onDetails;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("class", "timeline");
    this.svg.setAttribute("role", "group");
    host.append(this.svg);
    this.groups = {};
    for (const name of ["back", "bars", "marks", "labels", "veil"]) {
      this.groups[name] = new Group(this.svg, name);
    }
    this.cursor = null;
    this.ran = [];
    this.listen();
  }

  listen() {
    const item = (event) => event.target.closest?.("[data-key]");
    this.svg.addEventListener("pointermove", (event) => this.meet(item(event)));
    this.svg.addEventListener("pointerleave", () => this.meet(null));
    this.svg.addEventListener("focusin", (event) => this.focus(item(event)));
    this.svg.addEventListener("focusout", () => this.meet(null));
    this.svg.addEventListener("click", (event) => this.choose(item(event)));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  meet(element) {
    if (element && element === this.met) return;
    this.met = element;
    this.onDetails(element ? { element, ...element.details } : null);
  }

  focus(element) {
    if (!element) return;
    this.current = element.dataset.key;
    this.rove();
    this.meet(element);
  }

  choose(element) {
    if (element) this.onChoose(element.details.t, element.details.lane);
  }

  key(event) {
    const items = this.items();
    const at = items.indexOf(document.activeElement);
    if (at < 0) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) items[Math.min(Math.max(to, 0), items.length - 1)].focus();
    else if (event.key === "Enter" || event.key === " ") this.choose(items[at]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The elements that can have the focus, in order of time. */
  items() {
    return [...this.svg.querySelectorAll("[data-key]")].sort((a, b) => a.details.t - b.details.t);
  }

  /** Make the whole picture one stop of the tab key: the arrow keys go on from there. */
  rove() {
    const items = this.items();
    const stop = items.find((item) => item.dataset.key === this.current) ?? items[0];
    for (const item of items) item.setAttribute("tabindex", item === stop ? "0" : "-1");
  }

  draw(part, { width, scale, now }) {
    const boxes = layoutOf(part, { width, scale, now, measure });
    this.boxes = boxes;
    this.unnamed = unnamedOf(boxes);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${boxes.height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", boxes.height);
    this.svg.setAttribute("aria-label", `Picture of ${part.title}: arrow keys go from event to event`);
    this.drawBack(boxes, width);
    this.groups.bars.fill(() => this.drawBars(part, boxes));
    this.groups.marks.fill(() => this.drawMarks(boxes));
    this.groups.labels.fill(() => this.drawLabels(boxes));
    this.moveTo(this.cursor);
    this.showRan(this.ran);
    this.rove();
  }

  drawBack({ lanes, ticks, timed, right, answered, killed }, width) {
    const back = this.groups.back;
    back.fill(() => {
      for (const tick of ticks) {
        back.put(`grid ${tick.t}`, "line", { class: "grid", x1: tick.x, x2: tick.x, y1: 8, y2: timed });
        back.put(`tick ${tick.t}`, "text", { class: "tick", x: tick.x, y: timed + 16, "text-anchor": "middle" }, tick.text);
      }
      back.put("unit", "text", { class: "tick", x: 0, y: timed + 16 }, "ms");
      for (const lane of lanes) {
        back.put(`lane ${lane.name}`, "line", { class: "between", x1: 0, x2: width, y1: lane.y + lane.height, y2: lane.y + lane.height });
        back.put(`name ${lane.name}`, "text", { class: "lane", x: 0, y: lane.middle + 4 }, lane.name);
      }
      if (killed !== null) {
        back.put("gone", "rect", { class: "gone", x: killed, y: 8, width: Math.max(right - killed, 0), height: timed - 8 });
        back.put("killed", "line", { class: "kill", x1: killed, x2: killed, y1: 8, y2: timed });
      }
      if (answered !== null) {
        back.put("answered", "line", { class: "answer", x1: answered, x2: answered, y1: 8, y2: timed });
      }
    });
  }

  drawBars(part, { bars, chips }) {
    for (const bar of bars) {
      const { span } = bar;
      const key = `bar ${span.lane} ${span.id}`;
      const differs = part.differing.has(span.task) && span.kind === "task";
      const state = span.how ? slug(span.how) : "running";
      const details = detailsOfSpan(span, differs);
      const g = this.item(this.groups.bars, key, `bar ${slug(span.kind)} ${state}`, details);
      const box = { x: bar.x, y: bar.y, width: bar.width, height: bar.height };
      g.put("box", "rect", { ...box, rx: Math.min(3, bar.width / 2), class: "box" });
      if (state === "cut-off" || state === "never-ended") {
        const from = bar.label && !bar.outside ? bar.labelX + measure(bar.label) : bar.x;
        for (let x = from + 8, index = 0; x < bar.x + bar.width - 1; x += 8, index += 1) {
          const to = Math.min(x + 5, bar.x + bar.width);
          g.put(`stripe ${index}`, "line", { class: "stripe", x1: x, y1: bar.y + bar.height - 1, x2: to, y2: bar.y + 1 });
        }
      }
      if (state === "failed" && bar.width > 18) {
        const [x, y] = [bar.x + bar.width - 10, bar.y + bar.height / 2];
        g.put("cross", "path", { class: "cross", d: `M${x - 4} ${y - 4}l8 8m0-8l-8 8` });
      }
      if (bar.label) {
        const at = { x: bar.labelX, y: bar.y + bar.height / 2 + 4, class: bar.outside ? "outside" : "inside" };
        g.put("label", "text", at, bar.label);
      }
      if (differs) g.put("differs", "rect", { class: "differs", x: box.x - 2.5, y: box.y - 2.5, width: box.width + 5, height: box.height + 5, rx: 5 });
      g.done();
    }
    for (const chip of chips) this.drawChip(part, chip);
  }

  drawChip(part, { task, isNamed, text, x, y, width, height }) {
    const differs = part.differing.has(task);
    const named = isNamed ? "the log names it" : "no log names it";
    const details = {
      t: part.last,
      lane: "loop",
      title: `task ${task + 1} never started`,
      rows: [["log", named], ...(differs ? [["differs", "yes"]] : [])],
      spoken: `task ${task + 1} never started, ${named}`,
    };
    const g = this.item(this.groups.bars, `chip ${task}`, `chip ${isNamed ? "named" : "silent"}`, details);
    g.put("box", "rect", { x, y, width, height, rx: 3, class: "box" });
    g.put("label", "text", { x: x + 8, y: y + height / 2 + 4, class: "inside" }, text);
    if (differs) g.put("differs", "rect", { class: "differs", x: x - 2.5, y: y - 2.5, width: width + 5, height: height + 5, rx: 5 });
    g.done();
  }

  drawMarks({ marks }) {
    const seen = new Map();
    for (const { mark, x, y } of marks) {
      const name = `${mark.lane} ${mark.what} ${mark.t}`;
      const number = seen.get(name) ?? 0;
      seen.set(name, number + 1);
      const details = mark.log ? detailsOfLog(mark.log) : detailsOfMark(mark);
      const g = this.item(this.groups.marks, `mark ${name} ${number}`, `mark ${slug(kindOf(mark.what))}`, details);
      g.put("hit", "rect", { class: "hit", x: x - 6.5, y: y - 9, width: 13, height: 18 });
      g.put("glyph", "path", { class: "glyph", d: GLYPHS[kindOf(mark.what)] ?? GLYPHS.other, transform: `translate(${x} ${y})` });
      g.done();
    }
  }

  drawLabels({ labels }) {
    labels.forEach((label, index) => {
      const at = { class: "label", x: label.x, y: label.y + 4, "text-anchor": label.anchor };
      this.groups.labels.put(`label ${index}`, "text", at, label.text);
    });
  }

  item(group, key, className, details) {
    const element = group.put(key, "g", { class: `item ${className}`, role: "button", "aria-label": details.spoken });
    element.dataset.key = key;
    element.details = details;
    element.group ??= new Group(element);
    return element.group.begin();
  }

  /** Move the cursor to the time `t`, and veil what comes after it. null removes both. */
  moveTo(t) {
    this.cursor = t;
    const { boxes } = this;
    if (!boxes) return;
    const veil = this.groups.veil;
    veil.fill(() => {
      if (t === null) return;
      const x = Math.min(boxes.x(t), boxes.right);
      veil.put("veil", "rect", { class: "veil", x, y: 6, width: Math.max(boxes.right + 16 - x, 0), height: boxes.timed - 6 });
      veil.put("cursor", "line", { class: "cursor", x1: x, x2: x, y1: 4, y2: boxes.timed });
      for (const [index, ran] of this.ran.entries()) this.drawRan(veil, index, ran);
    });
  }

  /** Mark when a line ran: `ran` are its events. */
  showRan(ran) {
    this.ran = ran;
    this.moveTo(this.cursor);
  }

  drawRan(veil, index, { t, lane }) {
    const box = this.boxes.lanes.find((one) => one.name === lane);
    if (!box) return;
    const x = this.boxes.x(t);
    veil.put(`ran ${index}`, "path", { class: "ran", d: `M${x} ${box.y + box.height - 7}l3.5 6h-7z` });
  }
}

/** The kinds of the bars and marks without a label in the picture, which the legend must name. */
function unnamedOf({ bars, marks }) {
  const kindOfBar = ({ span }) => {
    const isPlain = span.kind !== "task" || !span.how || span.how === "ended";
    return isPlain ? slug(span.kind) : `task ${slug(span.how)}`;
  };
  return [
    ...bars.filter(({ label }) => !label).map(kindOfBar),
    ...marks.filter(({ isNamed }) => !isNamed).map(({ mark }) => kindOf(mark.what)),
  ];
}

/** The children of an element by their keys: `fill` removes those that are not put again. */
class Group {
  constructor(parent, name) {
    this.element = parent;
    if (name) {
      this.element = document.createElementNS(SVG, "g");
      this.element.setAttribute("class", name);
      parent.append(this.element);
    }
    this.children = new Map();
    this.used = new Set();
  }

  begin() {
    this.used.clear();
    return this;
  }

  fill(draw) {
    this.begin();
    draw();
    this.done();
  }

  put(key, tag, attributes, text) {
    let child = this.children.get(key);
    if (!child) {
      child = document.createElementNS(SVG, tag);
      this.children.set(key, child);
      this.element.append(child);
    }
    this.used.add(key);
    for (const [name, value] of Object.entries(attributes)) {
      const written = typeof value === "number" ? String(Math.round(value * 100) / 100) : value;
      if (child.getAttribute(name) !== written) child.setAttribute(name, written);
    }
    if (text !== undefined && child.textContent !== text) child.textContent = text;
    return child;
  }

  done() {
    for (const [key, child] of this.children) {
      if (this.used.has(key)) continue;
      child.remove();
      this.children.delete(key);
    }
  }
}

export function detailsOfSpan(span, differs = false) {
  const rows = [
    ["request", span.request > 1 ? "the second" : ""],
    ["lane", span.lane],
    ["from", time(span.t)],
    ["to", span.end === null ? "" : time(span.end)],
    ["took", span.end === null ? "" : time(span.end - span.t)],
    ["outcome", endOf(span)],
    ["differs", differs ? "yes" : ""],
  ].filter(([, value]) => value);
  const spoken = `${span.what}, ${span.lane}, from ${time(span.t)}${span.end === null ? "" : ` to ${time(span.end)}`}, ${endOf(span)}`;
  return { t: span.t, lane: span.lane, title: span.what, rows, spoken };
}

export function detailsOfMark(mark) {
  const rows = [["lane", mark.lane], ["at", time(mark.t)], ["detail", detailOf(mark)]].filter(([, value]) => value);
  const spoken = `${mark.what}, ${mark.lane}, at ${time(mark.t)}${mark.detail ? `, ${detailOf(mark)}` : ""}`;
  return { t: mark.t, lane: mark.lane, title: mark.what, rows, spoken };
}

export function detailsOfLog(log) {
  return {
    t: log.t,
    lane: "loop",
    title: log.message,
    rows: [["level", log.level], ["logger", log.logger], ["at", time(log.t)]],
    spoken: `log, ${log.level}: ${log.message}, at ${time(log.t)}`,
  };
}

const widths = new Map();
let context = null;

/** The width of a label in the font of the picture. */
export function measure(text) {
  if (!widths.has(text)) {
    context ??= document.createElement("canvas").getContext("2d");
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    widths.set(text, context.measureText(text).width * 1.02);
  }
  return widths.get(text);
}
