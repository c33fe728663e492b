// The timeline as a table, for people who cannot see pictures, and as text; both in order of time.

import { detailOf, endOf, time, verdictOf } from "./recording.js";
import { make } from "./dom.js";

/** What differs, as plain text. */
export const noteOf = ({ name, what }) => `Differs (${name}): ${what}`;

/** Rows of a part: when, where, what happened, how. */
export function rowsOf(part) {
  const rows = part.moments.filter(({ type }) => type !== "line").map(({ t, type, of }) => ({ t, ...ROWS[type](of) }));
  for (const { task } of part.unstarted) {
    const how = part.logNames(task) ? "named in the log" : "no log names it";
    rows.push({ t: null, where: "", what: `task ${task + 1} never starts`, how });
  }
  return rows;
}

const ROWS = {
  begin: (span) => ({ where: span.lane, what: span.what, how: "begins" }),
  finish: (span) => ({ where: span.lane, what: span.what, how: endOf(span) }),
  mark: (mark) => ({ where: mark.lane, what: mark.what, how: mark.what.endsWith(mark.detail) ? "" : detailOf(mark) }),
  log: (log) => ({ where: "log", what: log.message, how: `${log.level} of ${log.logger}` }),
};

const HEADS = ["When", "Where", "What", "How"];

/** Fill the table with a part's rows. */
export function fillTable(table, part) {
  const head = make("tr", {}, ...HEADS.map((text) => make("th", { scope: "col" }, text)));
  const body = rowsOf(part).map(({ t, where, what, how }) =>
    make("tr", {}, ...[time(t), where, what, how].map((text) => make("td", {}, text))),
  );
  table.replaceChildren(
    make("caption", {}, `Timeline of ${part.title}`),
    make("thead", {}, head),
    make("tbody", {}, ...body),
  );
}

/** The whole recording as plain text: the request, the differences, and each part. */
export function textOf(recording, { title, request, link }) {
  const blocks = [[title, request, link].filter(Boolean).join("\n")];
  for (const difference of recording.differences) blocks.push(noteOf(difference));
  for (const part of recording.parts.values()) {
    const verdict = verdictOf(part).map(({ text }) => text).join(" ");
    blocks.push([part.title, "=".repeat(part.title.length), verdict, "", ...columns(part)].join("\n"));
  }
  return `${blocks.join("\n\n")}\n`;
}

function columns(part) {
  const cells = rowsOf(part).map(({ t, where, what, how }) => [time(t).padStart(10), where, what, how]);
  const widths = [0, 1, 2].map((at) => Math.max(0, ...cells.map((row) => row[at].length)));
  return cells.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd());
}
