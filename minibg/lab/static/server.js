// The lab's server, as the page sees it: its presets and sources, its runs, and their events.
// Nothing about drawing may live here.

/** A request was refused or could not be served: the message is the server's, if it sent one. */
export class Refused extends Error {}

const LOST = "The lab does not answer. Is `python -m minibg.lab` still running?";
const NAMES = ["lane", "begin", "finish", "mark", "log", "line", "outcome", "difference", "end"];

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused(LOST);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const { detail } = await response.json().catch(() => ({}));
  throw new Refused(typeof detail === "string" ? detail : `The lab answered ${response.status}.`);
}

export const getComposition = () => ask("/composition");
export const getPresets = () => ask("/presets");
export const getContenders = () => ask("/contenders");

const sources = new Map();

/** The lines of a contender's mechanism, fetched only once. */
export function getSources(contender) {
  if (!sources.has(contender)) {
    sources.set(contender, ask(`/sources/${encodeURIComponent(contender)}`));
    sources.get(contender).catch(() => sources.delete(contender));
  }
  return sources.get(contender);
}

/** Start a run; returns its id. */
export async function startRun(request, contenders, step) {
  const started = await ask("/runs", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ request, contenders, step }),
  });
  return started.id;
}

export const stopRun = (id) =>
  ask(`/runs/${encodeURIComponent(id)}`, { method: "DELETE", headers: { "content-type": "application/json" } });

/**
 * Listen to a stream of events; returns a function that ends it.
 *
 * After a lost connection the browser connects again, and the server sends all events again. So
 * `onStart` is called for each connection, and `onLost` whenever one is lost.
 */
export function listen(path, { onStart, onEvent, onLost }) {
  const stream = new EventSource(path);
  stream.onopen = onStart;
  const hear = (event) => {
    if (event.data === undefined) {
      onLost(stream.readyState === EventSource.CLOSED);
      return;
    }
    if (event.type === "end") stream.close();
    onEvent(event.type, JSON.parse(event.data || "{}"));
  };
  for (const name of [...NAMES, "error"]) stream.addEventListener(name, hear);
  return () => stream.close();
}
