// The page: it composes a request, has the server run it, and shows the events of the run.
// The other modules decide what is drawn, and how.

import { Composer } from "./composer.js";
import { byId, make } from "./dom.js";
import { OWN, Recording } from "./recording.js";
import { fragmentOf, learn, readFragment, requestOf, same } from "./request.js";
import { Result } from "./result.js";
import { Refused, getComposition, getContenders, getPresets, listen, startRun, stopRun } from "./server.js";

/** A newcomer's questions, each with the preset that answers it. */
const QUESTIONS = [
  { text: "The first task fails. What happens to the second?", preset: "isolate" },
  { text: "In which thread does a sync task run?", preset: "order" },
  { text: "What does kill -9 lose?", preset: "misunderstanding-every-job" },
];

const result = new Result();
let composer = null;
let titles = new Map();
let running = null;

function complain(message) {
  byId("problem").textContent = message;
  byId("problem").hidden = !message;
}

const announce = (message) => (byId("progress").textContent = message);

async function begin() {
  try {
    const [composition, presets, contenders] = await Promise.all([getComposition(), getPresets(), getContenders()]);
    learn(composition);
    titles = new Map(contenders.map(({ id, title }) => [id, title]));
    composer = new Composer({ presets, contenders, onChange: rememberInUrl });
  } catch (refused) {
    complain(refused.message);
    return;
  }
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    run(false);
  });
  byId("step").addEventListener("click", () => byId("composer").reportValidity() && run(true));
  byId("stop").addEventListener("click", () => running && stopRun(running.id).catch(() => {}));
  byId("share").addEventListener("click", share);
  byId("edit").addEventListener("click", () => {
    byId("page").classList.remove("stepped");
    byId("preset").focus();
  });
  addEventListener("hashchange", readUrl);
  result.link = () => location.href;
  showQuestions();
  readUrl();
  if (titles.has(OWN)) watchApp(composer.own);
}

function showQuestions() {
  const known = QUESTIONS.filter(({ preset }) => composer.presets.some(({ id }) => id === preset));
  const items = known.map(({ text, preset }) => {
    const ask = () => {
      composer.usePreset(preset);
      run(false, text);
    };
    return make("li", {}, make("button", { type: "button", onclick: ask }, text));
  });
  byId("questions").replaceChildren(...items);
  byId("empty").hidden = false;
}

const sayFirst = () => composer.usePreset(composer.presets[0]?.id) || composer.say({ request: requestOf(), contenders: ["minibg"] });

let isReading = false;

/** Fill the form in from the URL's fragment or, without one, from the first preset. */
function readUrl() {
  const said = readFragment(location.hash);
  isReading = true;
  complain(said?.error ?? "");
  if (said?.preset && !composer.usePreset(said.preset, said.contenders)) {
    complain(`There is no preset ${said.preset}. Choose one from the list.`);
    sayFirst();
  } else if (said?.request) {
    composer.say({ request: said.request, contenders: said.contenders ?? ["minibg"] });
  } else if (!said?.preset) {
    sayFirst();
  }
  isReading = false;
}

/** Write the form into the URL, so that each address is a link to its request. */
function rememberInUrl() {
  if (!composer || isReading) return;
  const { preset, request, chosen } = composer;
  const isUsual = preset && same([...preset.contenders].sort(), [...chosen].sort());
  const fragment = fragmentOf({ preset: preset?.id, request, contenders: isUsual ? null : chosen });
  history.replaceState(null, "", fragment);
}

async function share() {
  rememberInUrl();
  try {
    await navigator.clipboard.writeText(location.href);
    announce("The link is copied.");
  } catch {
    announce("The browser does not let the page copy the link: copy it from the address bar.");
  }
}

async function run(step, question) {
  const { request, chosen } = composer;
  if (!chosen.length) return complain("No contender is chosen. Choose one, two or three.");
  if (running) return;
  complain("");
  rememberInUrl();
  const caption = { ...captionOf(composer.preset), ...(question && { title: question }) };
  const names = chosen.map((id) => [id, titles.get(id) ?? id]);
  const who = names.map(([, name]) => name).join(", ");
  busy({ id: null });
  announce(`Starting ${who}…`);
  if (matchMedia("(max-width: 880px)").matches) byId("main").scrollIntoView();
  try {
    running.id = await startRun(request, chosen, step);
  } catch (refused) {
    busy(null);
    announce("");
    complain(refused instanceof Refused ? refused.message : String(refused));
    return;
  }
  announce(`${step ? "Stepping" : "Running"} on ${who}…`);
  follow(new Recording(names, { request, step }), caption, running.id, who);
}

function captionOf(preset) {
  if (!preset) return { title: "A request of your own" };
  const isWrong = preset.group === "misunderstandings";
  return { title: isWrong ? `Misunderstanding: “${preset.title}”` : preset.title, see: preset.see };
}

function busy(run) {
  running = run;
  byId("run").disabled = byId("step").disabled = run !== null;
  byId("stop").hidden = run === null;
}

function follow(recording, caption, id, who) {
  performance.clearMarks("last event");
  performance.clearMeasures("drawn");
  const stop = listen(`/runs/${encodeURIComponent(id)}/events`, {
    onStart() {
      complain("");
      recording.clear();
      result.show(recording, caption);
    },
    onEvent(name, data) {
      take(recording, name, data);
      if (name !== "end") return;
      performance.mark("last event");
      over(`Done: ${who}.`);
    },
    onLost(isOver) {
      if (!isOver) return complain("The connection to the lab is lost. Trying again…");
      stop();
      recording.end();
      over("");
      complain("The connection to the lab is lost, and this run with it. Run it again.");
    },
  });
  const over = (message) => {
    busy(null);
    announce(message);
    result.redraw();
  };
}

function take(recording, name, data) {
  const part = recording.parts.get(data.contender);
  if (part && Number.isFinite(data.t)) {
    part.offset = Math.min(part.offset ?? Infinity, performance.now() - data.t);
  }
  recording.take(name, data);
  result.redraw();
}

/** With `--app`: each request that the visitor's own application has served is a recording. */
function watchApp({ title, url }) {
  byId("own").hidden = false;
  byId("own-hint").textContent = `Requests that you send to ${title}${url ? ` at ${url}` : ""} are listed here.`;
  const recordings = new Map();
  const start = () => {
    recordings.clear();
    byId("own-runs").replaceChildren();
  };
  const onEvent = (name, data) => {
    if (data.run === undefined) {
      if (name === "error") complain(data.message);
      return;
    }
    if (!recordings.has(data.run)) recordings.set(data.run, listed(data.run, title));
    take(recordings.get(data.run), name, { ...data, contender: OWN });
  };
  const onLost = () => complain("The connection to the lab is lost. Trying again…");
  listen("/app/events", { onStart: start, onEvent, onLost });
}

function listed(number, title) {
  const recording = new Recording([[OWN, title]]);
  const name = `Request ${number}`;
  const show = () => {
    for (const other of byId("own-runs").querySelectorAll("button")) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    result.show(recording, { title: name });
  };
  const button = make("button", { type: "button", onclick: show }, name);
  byId("own-runs").prepend(make("li", {}, button));
  if (!running) show();
  return recording;
}

begin();
