// The position of everything in a timeline, in pixels. Pure functions: a part in, boxes out.
// Nothing may be drawn here.
//
// Each lane has a strip for its marks, if it has any, and rows for spans. Spans that overlap in time
// are in different rows; marks that would overlap are moved to the right, in their order. A label is
// shown only where there is room for it: the details say the rest.

import { endOf } from "./recording.js";

const STRIP = 20;
const BAR = 20;
const ROW = BAR + 3;
const CHIP = BAR + 9;
const PAD = 6;
const AXIS = 22;
const GLYPH = 13;
const GAP = 6;

/**
 * `scale` is the axis; spans that are still running end at `now`, in ms; `measure` returns the width
 * of a label.
 */
export function layoutOf(part, { width, scale, now, measure }) {
  const left = width < 560 ? 66 : 92;
  const right = width - 16;
  const x = (t) => left + scale.at(t) * (right - left);
  const frame = { left, right, x, now: part.killed ?? now, measure };
  const boxes = { lanes: [], bars: [], marks: [], labels: [], chips: [], x, left, right };
  let y = 8;
  const lanes = lanesOf(part);
  for (const lane of lanes.filter(({ chips }) => !chips)) y = place(lane, y, frame, boxes);
  boxes.timed = y;
  y += AXIS;
  for (const lane of lanes.filter(({ chips }) => chips)) y = place(lane, y, frame, boxes);
  boxes.ticks = scale.ticks(right - left).map((t) => ({ t, x: x(t), text: String(t) }));
  boxes.height = y;
  boxes.answered = part.answered === null ? null : x(part.answered);
  boxes.killed = part.killed === null ? null : x(part.killed);
  return boxes;
}

function place(lane, top, frame, boxes) {
  const strip = lane.marks.length ? STRIP : 0;
  const rows = rowsOf(lane.spans);
  let y = top + PAD;
  if (strip) placeMarks(lane, y + STRIP / 2, frame, boxes);
  y += strip;
  rows.forEach((row, index) => placeRow(row, y + index * ROW, frame, boxes));
  y += rows.length * ROW;
  if (lane.chips) y = placeChips(lane.chips, y, frame, boxes);
  const bottom = Math.max(y, top + PAD + STRIP) + PAD - 2;
  boxes.lanes.push({ name: lane.name, y: top, height: bottom - top, middle: (top + bottom) / 2 });
  return bottom;
}

function lanesOf(part) {
  const lanes = part.lanes.map((name) => ({
    name,
    spans: part.spans.filter((span) => span.lane === name),
    marks: part.marks.filter((mark) => mark.lane === name),
  }));
  const client = lanes.find(({ name }) => name === "client");
  if (client && (client.marks.length || (part.last > 0 && !part.ended))) client.spans.push(waitOf(part));
  if (part.logs.length) {
    const marks = part.logs.map((log) => ({ ...log, what: log.level, log }));
    lanes.push({ name: "log", spans: [], marks });
  }
  if (part.unstarted.length) {
    const chips = part.unstarted.map(({ task }) => ({ task, isNamed: part.logNames(task) }));
    lanes.push({ name: "not run", spans: [], marks: [], chips });
  }
  return lanes;
}

/** The client's wait as a span: from the request to the mark that ended it. */
function waitOf({ waited, answered, ended, last }) {
  const end = waited ?? (ended ? last : null);
  const how = end === null ? null : answered === null ? "no answer" : "ended";
  return { id: "wait", lane: "client", kind: "client", what: "waits for the answer", t: 0, end, how, detail: "" };
}

function rowsOf(spans) {
  const rows = [];
  for (const span of [...spans].sort((a, b) => a.t - b.t)) {
    const free = rows.find((row) => (row.at(-1).end ?? Infinity) <= span.t + 0.005);
    if (free) free.push(span);
    else rows.push([span]);
  }
  return rows;
}

function placeRow(row, y, { x, now, right, measure }, boxes) {
  let from = 0;
  const bars = row.map((span) => {
    const begin = Math.max(x(span.t), from);
    const end = Math.min(Math.max(x(span.end ?? now), begin + 3), right);
    from = end + 1;
    return { span, x: begin, y, width: Math.max(end - begin, 1), height: BAR, label: "", outside: false };
  });
  const byWeight = [...bars].sort((a, b) => WEIGHT.indexOf(a.span.kind) - WEIGHT.indexOf(b.span.kind));
  const taken = bars.map((bar) => [bar.x, bar.x + bar.width]);
  for (const bar of byWeight) label(bar, taken, right, measure);
  boxes.bars.push(...bars);
}

const WEIGHT = ["client", "task", "not recorded", "on_error", "endpoint", "dependency"];

/** Label a bar: inside if one of its wordings fits there, else beside it, else not at all. */
function label(bar, taken, right, measure) {
  const { span } = bar;
  const room = bar.width - 12 - (span.how === "failed" ? 20 : 0);
  const words = wordings(span);
  const inside = words.find((text) => measure(text) <= room);
  if (inside) return Object.assign(bar, { label: inside, labelX: bar.x + 7 });
  const x = bar.x + bar.width + 4;
  const beside = words.find((text) => isFree(x, x + measure(text) + GAP, taken, right));
  if (!beside) return numbered(bar, room, measure);
  taken.push([x, x + measure(beside) + GAP]);
  return Object.assign(bar, { label: beside, labelX: x, outside: true });
}

/** Label a bar with its number alone, where no words fit, as in a row of short tasks. */
function numbered(bar, room, measure) {
  const { kind, task } = bar.span;
  const number = kind === "task" && task !== null ? `${task + 1}` : null;
  return number && measure(number) <= room ? Object.assign(bar, { label: number, labelX: bar.x + 7 }) : bar;
}

/** The possible labels of a span, from the longest to the shortest. */
function wordings(span) {
  if (span.kind === "client") return [span.what, "waits"];
  if (span.kind !== "task") return [span.what];
  if (span.what.endsWith("handed back")) return [span.what, "handed back"];
  if (!span.what.startsWith("task ")) return [span.what];
  const whose = span.request > 1 ? `request ${span.request}, ` : "";
  const plain = `${whose}task ${span.task + 1}`;
  const how = span.how && span.how !== "ended" ? [`${plain} ${endOf(span)}`, `${plain} ${span.how}`] : [`${whose}${span.what}`];
  return [...how, plain];
}

const isFree = (from, to, taken, right) =>
  to <= right && taken.every(([begin, end]) => to <= begin || from >= end);

function placeMarks(lane, y, { x, left, right, measure }, boxes) {
  const clusters = [];
  for (const mark of [...lane.marks].sort((a, b) => a.t - b.t)) {
    const at = Math.min(Math.max(x(mark.t), left), right - GLYPH / 2);
    const cluster = clusters.at(-1);
    if (cluster && at < cluster.end + GLYPH) {
      cluster.end += GLYPH;
      cluster.marks.push({ mark, x: cluster.end, y });
    } else {
      clusters.push({ end: at, marks: [{ mark, x: at, y }] });
    }
  }
  keepInside(clusters, right);
  clusters.forEach((cluster, index) => {
    boxes.marks.push(...cluster.marks);
    const next = clusters[index + 1]?.marks[0].x ?? right + GLYPH;
    const before = clusters[index - 1]?.reach ?? left;
    labelCluster(cluster, before, next - GLYPH, y, measure, boxes);
  });
}

/** Move the last cluster back if it reaches beyond the axis. */
function keepInside(clusters, right) {
  const last = clusters.at(-1);
  const over = last.end + GLYPH / 2 - right;
  if (over <= 0) return;
  for (const placed of last.marks) placed.x -= over;
  last.end -= over;
}

function labelCluster(cluster, before, next, y, measure, boxes) {
  const names = cluster.marks.map(({ mark }) => nameOf(mark));
  const short = names.map((name) => name.replace(/^http\.(response\.)?/, ""));
  const isLog = cluster.marks.at(-1).mark.log;
  cluster.reach = cluster.end + GLYPH;
  const right = cluster.end + GLYPH - 3;
  const isAll = (index) => index < 2 || names.length === 1;
  const cut = isLog ? shortened(names.at(-1), next - right - GAP, measure) : "";
  const left = cluster.marks[0].x - GLYPH + 3;
  const cutLeft = isLog ? shortened(names.at(-1), left - before, measure) : "";
  const wordings = [names.join(" · "), short.join(" · "), names.at(-1), short.at(-1), cut, cutLeft];
  for (const [index, text] of wordings.entries()) {
    const mayBeLeft = index === 0 || index === wordings.length - 1;
    const isRight = text && right + measure(text) <= next;
    const isLeft = text && mayBeLeft && left - measure(text) >= before;
    if (!isRight && !isLeft) continue;
    boxes.labels.push({ text, x: isRight ? right : left, y, anchor: isRight ? "start" : "end" });
    if (isRight) cluster.reach = right + measure(text) + GAP;
    for (const placed of isAll(index) ? cluster.marks : cluster.marks.slice(-1)) placed.isNamed = true;
    return;
  }
}

function nameOf(mark) {
  if (mark.log) return mark.log.message;
  return SAYS_MORE.has(mark.what) && mark.detail ? `${mark.what} ${mark.detail}` : mark.what;
}

const SAYS_MORE = new Set(["connection closed"]);

function shortened(text, room, measure) {
  const exception = text.match(/: (\w+)\(.*\)$/)?.[1];
  const short = [text.replace(/\(.*\)$/, ""), exception].find((words) => exception && measure(words) <= room);
  if (short) return short;
  if (room < 60) return "";
  let length = Math.floor((text.length * room) / measure(text));
  while (length > 4 && measure(`${text.slice(0, length)}…`) > room) length -= 1;
  return length > 4 ? `${text.slice(0, length).trimEnd()}…` : "";
}

function placeChips(tasks, top, { left, right, measure }, boxes) {
  let x = left;
  let y = top;
  for (const { task, isNamed } of tasks) {
    const text = `task ${task + 1}: ${isNamed ? "the log names it" : "no log names it"}`;
    const width = measure(text) + 16;
    if (x + width > right && x > left) [x, y] = [left, y + CHIP];
    boxes.chips.push({ task, isNamed, text, x, y, width, height: BAR });
    x += width + GAP;
  }
  return y + ROW;
}
