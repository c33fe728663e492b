// The lab's server, as the page sees it: what it has, a run, the events of a run.
// Nothing about how anything is drawn may live here.

/** What the server has refused or could not do, in its own words. */
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

/** The lines of a contender's mechanism; asked for once. */
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
 * After a lost connection the browser asks again, and the server tells all from the start: so
 * `onStart` is called each time, and `onLost` in between.
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
