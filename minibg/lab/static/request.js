// A request as data: what can be asked for, its bounds, and its form in the URL's fragment.
// Nothing about the page or the server may live here.

/** What each choice offers; the first is the default. */
export const CHOICES = {
  kind: ["sync", "async"],
  does: ["ends", "fails", "adds", "hands back", "blocks", "exits", "cancels"],
  endpoint: ["returns", "raises", "streams"],
  dependency: ["none", "closes", "fails closing"],
  client: ["stays", "hangs up before", "hangs up within", "hangs up after", "pipelines"],
  server: ["goes on", "SIGTERM", "SIGTERM twice", "SIGKILL"],
};

export const MOST = { tasks: 10, ms: 2000, contenders: 3 };

/** A task whose fields are `given`, or the defaults. */
export const taskOf = (given = {}) => ({
  kind: CHOICES.kind.includes(given.kind) ? given.kind : "sync",
  ms: Number.isFinite(given.ms) ? given.ms : 100,
  does: CHOICES.does.includes(given.does) ? given.does : "ends",
});

/** A request whose fields are `given`, or the defaults. What is unknown is left out. */
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

/** `#preset=ID` or `#run=REQUEST` (JSON as base64url), each with the contenders where given. */
export function fragmentOf({ preset, request, contenders }) {
  const first = preset ? `preset=${encodeURIComponent(preset)}` : `run=${encoded(request)}`;
  return `#${first}${contenders ? `&contenders=${contenders.join(",")}` : ""}`;
}

/** What a fragment asks for; an `error` where it cannot be read, and null where it is empty. */
export function readFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const contenders = fields.get("contenders")?.split(",").filter(Boolean);
  if (fields.has("preset")) return { preset: fields.get("preset"), contenders };
  if (!fields.has("run")) return null;
  try {
    return { request: requestOf(JSON.parse(decoded(fields.get("run")))), contenders };
  } catch {
    return { error: "The link holds no request: after #run= a request is expected, as JSON in base64url." };
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

/** The request in one sentence. */
export function sentenceOf(request) {
  const tasks = request.tasks.map(
    (task, index) => `${index + 1} ${task.kind} ${task.ms} ms${OUTCOMES[task.does]}`,
  );
  const parts = [
    tasks.length ? `Tasks: ${tasks.join("; ")}.` : "No tasks.",
    `The endpoint ${request.endpoint === "raises" ? "raises after adding them" : request.endpoint}.`,
  ];
  if (request.dependency !== "none") parts.push(`A dependency ${request.dependency === "closes" ? "closes" : "fails while closing"}.`);
  if (request.client !== "stays") parts.push(`The client ${request.client}${request.client.startsWith("hangs") ? " the answer" : " a second request"}.`);
  if (request.server !== "goes on") parts.push(`The server gets ${request.server}.`);
  if (request.fail_fast) parts.push("The first failure ends the list.");
  return parts.join(" ");
}

const OUTCOMES = {
  ends: "",
  fails: ", fails",
  adds: ", adds another",
  "hands back": ", hands back an awaitable",
  blocks: ", blocks the loop",
  exits: ", calls sys.exit",
  cancels: ", cancels",
};
