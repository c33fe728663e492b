// A recording, put in order as its events arrive: a part for each contender, with its lanes, spans,
// marks, log records and lines. Nothing about drawing may live here.

/** The contender that is the visitor's own application. */
export const OWN = "app";

/** The recording of one request on one contender. */
export class Part {
  constructor(contender, title) {
    this.contender = contender;
    this.title = title;
    this.isOwn = contender === OWN;  // the visitor's own application, whose client is not seen
    this.lanes = this.isOwn ? ["loop"] : ["client", "loop"];
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

  /** End a span. One that never ended gets no time of its end. */
  on_finish({ id, t, how, detail }) {
    const span = this.spans.findLast((open) => open.id === id && open.how === null);
    if (span) Object.assign(span, { end: t ?? null, how, detail: detail ?? "" });
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

  /** When the client had the whole answer, in ms; null if it never got it. */
  get answered() {
    return this.marks.find((mark) => mark.what === "answer complete")?.t ?? null;
  }

  /** When the client's wait ended, with or without an answer, in ms; null if it did not end. */
  get waited() {
    const isEnd = ({ lane, what }) => lane === "client" && what !== "first byte";
    return this.marks.find(isEnd)?.t ?? null;
  }

  /** When the process was killed, in ms; null if it was not. */
  get killed() {
    return this.marks.find((mark) => mark.what === "killed")?.t ?? null;
  }

  /** The tasks that have never started, once that is known. */
  get unstarted() {
    return (this.outcome?.tasks ?? []).filter((task) => !task.started);
  }

  /** Whether the log names a task as not run, as cut off or as failed. */
  logNames(task) {
    const { named } = this.outcome.tasks.find((one) => one.task === task);
    return Boolean(named) || this.logs.some(({ message }) => message.includes(`${this.functionOf(task)} failed`));
  }

  /** The name of a task's function. The functions of composed tasks are `task_1`, `task_2` and so on. */
  functionOf(task) {
    if (!this.isOwn) return `task_${task + 1}`;
    return this.spans.find((span) => span.kind === "task" && span.task === task)?.what ?? "";
  }

  /** Tasks by their names: "task 1", "tasks 1 and 3", "tasks 1 to 3"; those of a visitor's own application by their functions. */
  named(tasks) {
    const names = tasks.map((task) => (this.isOwn ? this.functionOf(task) : task + 1));
    const isRow = names.length > 2 && names.every((name, index) => name === names[0] + index);
    const listed = [names.slice(0, -1).join(", "), names.at(-1)].filter(Boolean).join(" and ");
    const all = isRow ? `${names[0]} to ${names.at(-1)}` : listed;
    return this.isOwn ? all : `${names.length > 1 ? "tasks" : "task"}\u00a0${all}`;
  }

  /** Text that begins a sentence; a function's name stays as it is. */
  sentence(text) {
    return this.isOwn ? text : text[0].toUpperCase() + text.slice(1);
  }

  /** All moments in order of time, each with its type and the span, mark, log record or line that it is `of`. */
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

  /** Whether nothing more will come: the last event has come, or a request to a visitor's own application is over. */
  get isOver() {
    return this.ended || [...this.parts.values()].every(({ isOwn, ended }) => isOwn && ended);
  }

  /** The times of all events but lines. */
  get times() {
    return [...this.parts.values()].flatMap(({ spans, marks, logs }) => [
      ...spans.flatMap(({ t, end }) => (end === null ? [t] : [t, end])),
      ...[...marks, ...logs].map(({ t }) => t),
    ]);
  }

  /** The time at which the axis ends, in ms. */
  get last() {
    return Math.max(...[...this.parts.values()].map((part) => part.last), 0);
  }
}

/** A time for people, with just enough digits to tell neighbours apart. */
export function time(ms) {
  if (ms === null || ms === undefined) return "";
  if (Math.abs(ms) < 10) return `${ms.toFixed(2)} ms`;
  if (Math.abs(ms) < 100) return `${ms.toFixed(1)} ms`;
  if (Math.abs(ms) < 10000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

/** How a span ended, in words. */
export function endOf(span) {
  if (span.how === null) return "still running";
  return span.detail ? `${span.how}: ${span.detail}` : span.how;
}

/** The detail of a mark, in words. The server has taken a message when the application's `send` returns. */
export const detailOf = ({ detail }) => TAKEN[detail] ?? detail;

const TAKEN = {
  "piece taken": "the server has taken a piece of the answer",
  "last byte taken": "the server has taken the last byte of the answer",
};

/** A part's outcome in sentences: the answer, the tasks that ran and where, those that did not, and whether the log says so. */
export function verdictOf(part) {
  if (part.error) return [{ text: part.error, tone: "bad" }];
  if (!part.outcome) return [];
  return [answerOf(part), ...ofTasks(part)].filter(Boolean);
}

function answerOf(part) {
  const { status } = part.outcome;
  if (part.isOwn) return { text: status ? `Answered with ${status}.` : "Not answered.", tone: status ? "plain" : "bad" };
  if (!status || part.answered === null) return { text: "The client got no complete answer.", tone: "bad" };
  return { text: `The client got ${status} after ${time(part.answered)}.`, tone: "plain" };
}

function ofTasks(part) {
  const { tasks } = part.outcome;
  const those = (wanted) => tasks.filter(wanted).map(({ task }) => task);
  const failed = those(({ how }) => how === "failed");
  const ended = those(({ how }) => how === "ended");
  const cut = those(({ started, how }) => started && how !== "failed" && how !== "ended");
  const unstarted = those(({ started }) => !started);
  const sentences = [places(part, ended)];
  if (failed.length) sentences.push(failures(part, failed));
  if (cut.length || unstarted.length) sentences.push(lost(part, cut, unstarted));
  return sentences;
}

/** Where the tasks that ended ran: "Task 1 ran on the loop, tasks 2 and 3 in worker thread 1." */
function places(part, ended) {
  if (!ended.length) return null;
  const lanes = Map.groupBy(ended, (name) => part.outcome.tasks.find(({ task }) => task === name).lane);
  const clauses = [...lanes].map(([lane, names], index) => {
    const where = lane === "loop" ? "on the loop" : `in ${lane.replace(/^worker /, "worker thread\u00a0")}`;
    return `${part.named(names)}${index ? "" : " ran"} ${where}`;
  });
  return { text: `${part.sentence(clauses.join(", "))}.`, tone: "plain" };
}

function failures(part, failed) {
  const what = part.sentence(`${part.named(failed)} failed`);
  if (failed.every((task) => part.logNames(task))) return { text: `${what}, and the log says so.`, tone: "warn" };
  const isLogged = part.logs.some(({ level }) => level === "ERROR");
  return { text: isLogged ? `${what}, and the server logs an exception.` : `${what}, and no log says so.`, tone: "bad" };
}

function lost(part, cut, unstarted) {
  const clauses = [];
  if (cut.length) clauses.push(`${part.named(cut)} started and did not end`);
  if (unstarted.length) clauses.push(`${part.named(unstarted)} never started`);
  const what = part.sentence(clauses.join("; "));
  const tasks = [...cut, ...unstarted];
  const silent = tasks.filter((task) => !part.logNames(task));
  if (!silent.length) return { text: `${what}, and the log names ${tasks.length > 1 ? "them" : "it"}.`, tone: "warn" };
  if (silent.length < tasks.length) return { text: `${what}. No log names ${part.named(silent)}.`, tone: "bad" };
  return { text: `${what}, and no log names ${tasks.length > 1 ? "them" : "it"}.`, tone: "bad" };
}
