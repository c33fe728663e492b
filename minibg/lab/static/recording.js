// What was recorded, put in order as it arrives: a part for each contender, with its lanes, spans,
// marks, log records and lines. Nothing about how it is drawn may live here.

/** The recording of one request on one contender. */
export class Part {
  constructor(contender, title) {
    this.contender = contender;
    this.title = title;
    this.lanes = ["client", "loop"];
    this.spans = [];
    this.marks = [];
    this.logs = [];
    this.lines = [];
    this.outcome = null;
    this.error = null;
    this.ended = false;
    this.last = 0;
    this.differing = new Set();
  }

  /** Take one event in. */
  take(name, data) {
    if (Number.isFinite(data.t)) this.last = Math.max(this.last, data.t);
    this[`on_${name}`]?.(data);
  }

  on_lane({ lane }) {
    if (!this.lanes.includes(lane)) this.lanes.push(lane);
  }

  on_begin(data) {
    this.on_lane(data);
    this.spans.push({ ...data, end: null, how: null, detail: "" });
  }

  on_finish({ id, t, how, detail }) {
    const span = this.spans.findLast((open) => open.id === id && open.how === null);
    if (span) Object.assign(span, { end: t, how, detail: detail ?? "" });
  }

  on_mark(data) {
    this.on_lane(data);
    this.marks.push(data);
  }

  on_log(data) {
    this.logs.push(data);
  }

  on_line(data) {
    this.lines.push(data);
  }

  on_outcome(data) {
    this.outcome = data;
    this.ended = true;
  }

  on_error({ message }) {
    this.error = message;
    this.ended = true;
  }

  /** When the client had the whole answer, in ms; null if it never had. */
  get answered() {
    return this.marks.find((mark) => mark.what === "answer complete")?.t ?? null;
  }

  /** How long the client waited: to the answer, or to what ended the wait. */
  get waited() {
    const end = this.marks.find((mark) => mark.lane === "client" && ENDS_WAIT.has(mark.what));
    return end?.t ?? null;
  }

  get killed() {
    return this.marks.find((mark) => mark.what === "killed")?.t ?? null;
  }

  /** The tasks that have never started, once that is known. */
  get unstarted() {
    return (this.outcome?.tasks ?? []).filter((task) => !task.started);
  }

  /** All that happened, in order of time; each moment says what it is and where. */
  get moments() {
    const moments = [
      ...this.spans.map((span) => ({ t: span.t, type: "begin", of: span })),
      ...this.spans
        .filter((span) => span.end !== null)
        .map((span) => ({ t: span.end, type: "finish", of: span })),
      ...this.marks.map((mark) => ({ t: mark.t, type: "mark", of: mark })),
      ...this.logs.map((log) => ({ t: log.t, type: "log", of: log })),
      ...this.lines.map((line) => ({ t: line.t, type: "line", of: line })),
    ];
    return moments.sort((a, b) => a.t - b.t);
  }
}

const ENDS_WAIT = new Set(["answer complete", "hung up", "connection lost"]);

/** The recordings of one run, whose contenders share one axis of time. */
export class Recording {
  /** `titles` names the contenders: `[["minibg", "minibg"], ...]`. */
  constructor(titles, { request = null, step = false } = {}) {
    this.titles = titles;
    this.request = request;
    this.step = step;
    this.clear();
  }

  clear() {
    this.parts = new Map(this.titles.map(([id, title]) => [id, new Part(id, title)]));
    this.differences = [];
    this.ended = false;
  }

  take(name, data) {
    if (name === "end") this.end();
    else if (name === "difference") this.differ(data);
    else this.parts.get(data.contender)?.take(name, data);
  }

  end() {
    this.ended = true;
    for (const part of this.parts.values()) part.ended = true;
  }

  differ(difference) {
    this.differences.push(difference);
    for (const id of difference.contenders) {
      for (const task of difference.tasks ?? []) this.parts.get(id)?.differing.add(task);
    }
  }

  /** The time at which the axis ends, in ms. */
  get last() {
    return Math.max(...[...this.parts.values()].map((part) => part.last), 0);
  }
}

/** A time for people: enough digits to tell neighbours apart, and no more. */
export function time(ms) {
  if (ms === null || ms === undefined) return "";
  if (Math.abs(ms) < 10) return `${ms.toFixed(2)} ms`;
  if (Math.abs(ms) < 100) return `${ms.toFixed(1)} ms`;
  if (Math.abs(ms) < 10000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

/** How a span ended, as one says it. */
export function endOf(span) {
  if (span.how === null) return "still running";
  return span.detail ? `${span.how}: ${span.detail}` : span.how;
}

export const numbers = (tasks) => {
  const names = tasks.map((task) => String(task + 1));
  if (names.length < 2) return `task ${names[0]}`;
  return `tasks ${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
};

/** What a part shows, in sentences: the answer, what ran, what did not, and who says so. */
export function verdictOf(part) {
  if (part.error) return [{ text: part.error, tone: "bad" }];
  if (!part.outcome) return [];
  const { status } = part.outcome;
  const after = part.answered === null ? "" : ` after ${time(part.answered)}`;
  const sentences = [
    status && part.answered !== null
      ? { text: `The client has ${status}${after}.`, tone: "plain" }
      : { text: "The client gets no complete answer.", tone: "bad" },
  ];
  return [...sentences, ...ofTasks(part)];
}

function ofTasks(part) {
  const { tasks } = part.outcome;
  if (!tasks.length) return [];
  const failed = part.spans.filter((span) => span.kind === "task" && span.how === "failed");
  const failing = new Set(failed.map((span) => span.task));
  const ended = tasks.filter((task) => task.ended && !failing.has(task.task));
  const cut = tasks.filter((task) => task.started && !task.ended && !failing.has(task.task));
  const sentences = [];
  if (ended.length === tasks.length) {
    sentences.push({ text: "All tasks ended.", tone: "good" });
  } else if (ended.length) {
    sentences.push({ text: `${capital(numbers(ended.map((task) => task.task)))} ended.`, tone: "plain" });
  }
  if (failing.size) sentences.push({ text: `${capital(numbers([...failing]))} failed.`, tone: "bad" });
  if (cut.length) sentences.push(lost(cut, "started and never ended"));
  if (part.unstarted.length) sentences.push(lost(part.unstarted, "never started"));
  return sentences;
}

function lost(tasks, what) {
  const silent = tasks.filter((task) => !task.named);
  const names = capital(numbers(tasks.map((task) => task.task)));
  if (!silent.length) return { text: `${names} ${what}; the log says so.`, tone: "warn" };
  if (silent.length === tasks.length) return { text: `${names} ${what}, and nothing says so.`, tone: "bad" };
  return { text: `${names} ${what}; the log says so of some.`, tone: "bad" };
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
