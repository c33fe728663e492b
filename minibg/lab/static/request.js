// A request as data: the options, their limits, and the request's form in the URL's fragment.
// Nothing about the page or the server may live here.

/** The options of each choice, as the server lists them; the first is the default. */
export const CHOICES = {};
/** How many tasks, milliseconds and contenders there may be at most. */
export const MOST = {};

/** Take over the options and the limits from the server. */
export function learn({ limits, ...choices }) {
  Object.assign(CHOICES, choices);
  Object.assign(MOST, limits);
}

/** A task whose fields are `given`, or the defaults. */
export const taskOf = (given = {}) => ({
  kind: CHOICES.kind.includes(given.kind) ? given.kind : "sync",
  ms: Number.isFinite(given.ms) ? given.ms : 100,
  does: CHOICES.does.includes(given.does) ? given.does : "ends",
});

/** A request whose fields are `given`, or the defaults. Unknown fields are left out. */
export function requestOf(given = {}) {
  const chosen = (field) =>
    CHOICES[field].includes(given[field]) ? given[field] : CHOICES[field][0];
  return {
    tasks: (Array.isArray(given.tasks) ? given.tasks : []).slice(0, MOST.tasks).map(taskOf),
    endpoint: chosen("endpoint"),
    dependency: chosen("dependency"),
    client: chosen("client"),
    server: chosen("server"),
    fail_fast: given.fail_fast === true,
  };
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** `#preset=ID` or `#run=REQUEST` (JSON as base64url), each with the contenders if they are given. */
export function fragmentOf({ preset, request, contenders }) {
  const first = preset ? `preset=${encodeURIComponent(preset)}` : `run=${encoded(request)}`;
  return `#${first}${contenders ? `&contenders=${contenders.join(",")}` : ""}`;
}

/** The preset or request in a fragment; an `error` if it cannot be read, and null if it is empty. */
export function readFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const contenders = fields.get("contenders")?.split(",").filter(Boolean);
  if (fields.has("preset")) return { preset: fields.get("preset"), contenders };
  if (!fields.has("run")) return null;
  try {
    return { request: requestOf(JSON.parse(decoded(fields.get("run")))), contenders };
  } catch {
    return { error: "The link holds no request: #run= must be followed by a request, as JSON in base64url." };
  }
}

function encoded(request) {
  const bytes = new TextEncoder().encode(JSON.stringify(request));
  const base64 = btoa(String.fromCharCode(...bytes));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function decoded(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder().decode(Uint8Array.from(binary, (char) => char.charCodeAt(0)));
}

/** The request in sentences. */
export function sentenceOf(request) {
  const tasks = request.tasks.map(({ kind, ms, does }, index) => {
    const more = does === "ends" ? "" : `, ${IN_WORDS[does] ?? does}`;
    return `${index + 1} ${kind} ${ms} ms${more}`;
  });
  if (request.client === "after 40 others") {
    const left = tasks.length ? `left these tasks: ${tasks.join("; ")}` : "left no task";
    return `40 requests come first, each of which has ${left}. Then the client asks a sync endpoint, which has no task.`;
  }
  const parts = [
    tasks.length ? `Tasks: ${tasks.join("; ")}.` : "No tasks.",
    `The endpoint ${IN_WORDS[request.endpoint] ?? request.endpoint}.`,
  ];
  const { dependency, client, server } = request;
  if (dependency !== "none") parts.push(`A dependency ${IN_WORDS[`dependency ${dependency}`] ?? dependency}.`);
  if (client !== "stays") parts.push(`The client ${IN_WORDS[client] ?? client}.`);
  if (server !== "goes on") parts.push(`The server gets ${server}${server === "SIGKILL" ? " (kill -9)" : ""}.`);
  if (request.fail_fast) parts.push("The first failure ends the list.");
  return parts.join(" ");
}

/** The words of a sentence for options whose own names do not make one. */
const IN_WORDS = {
  adds: "adds another",
  "hands back": "hands back an awaitable",
  blocks: "blocks the loop",
  exits: "calls sys.exit",
  cancels: "cancels the run",
  "cancels and fails": "cancels the run and fails",
  "is given func": "is given a keyword argument func",
  raises: "raises after adding the tasks",
  "own background": "gives the last task to its response",
  "dependency fails closing": "fails while closing",
  "dependency adds": "adds a task while closing",
  "hangs up before": "hangs up before the answer",
  "hangs up within": "hangs up in the middle of the answer",
  "hangs up after": "hangs up after the answer",
  pipelines: "pipelines a second request",
  "after 40 others": "sends its request after 40 others",
};
