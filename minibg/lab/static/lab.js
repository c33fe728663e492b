// The page: it composes a request, has the server run it, and shows the events of the run.
// The other modules decide what is drawn, and how.

import { Composer } from "./composer.js";
import { byId, make, prose } from "./dom.js";
import { OWN, Recording } from "./recording.js";
import { fragmentOf, learn, readFragment, requestOf, same, sentenceOf } from "./request.js";
import { Result } from "./result.js";
import { Refused, getComposition, getContenders, getPresets, getSources, listen, startRun, stopRun } from "./server.js";

/** The number of recordings that are kept for the browser's Back and Forward. */
const KEPT = 20;

const result = new Result();
/** Recordings by the ids of their runs, which the entries of the browser's history hold. */
const past = new Map();
let composer = null;
let titles = new Map();
let running = null;
/** Whether the request in the form came by a link, and is not a preset's. */
let isSent = false;

function complain(message) {
  byId("problem").replaceChildren(...prose(message));
  byId("problem").hidden = !message;
}

const announce = (message) => (byId("progress").textContent = message);

async function begin() {
  try {
    const [composition, presets, contenders] = await Promise.all([getComposition(), getPresets(), getContenders()]);
    learn(composition);
    titles = new Map(contenders.map(({ id, title }) => [id, title]));
    composer = new Composer({ presets, contenders, onChange: onCompose });
  } catch (refused) {
    complain(refused.message);
    return;
  }
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    run(false);
  });
  byId("accept").addEventListener("click", () => byId("composer").reportValidity() && run(false));
  byId("step").addEventListener("click", () => byId("composer").reportValidity() && run(true));
  byId("stop").addEventListener("click", () => running && stopRun(running.id).catch(() => {}));
  byId("share").addEventListener("click", share);
  byId("edit").addEventListener("click", () => {
    if (result.toggleLines()) byId("code").focus();
    else byId("preset").focus();
  });
  byId("unfold").addEventListener("click", () => {
    const isOpen = byId("page").classList.toggle("unfolded");
    byId("unfold").setAttribute("aria-expanded", String(isOpen));
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();  // the fragment holds the request
    byId("main").focus();
  });
  addEventListener("popstate", arrive);
  result.link = () => location.href;
  result.announce = announce;
  arrive();
  if (titles.has(OWN)) watchApp(composer.own);
}

/** Show one of the page's three views: "empty" (with the questions), "invitation" or "result". */
function view(name) {
  const isGone = document.activeElement?.matches(".questions button, #accept");
  for (const id of ["empty", "invitation", "result"]) byId(id).hidden = id !== name;
  byId("page").dataset.view = name;
  if (name !== "result") result.leave();
  const shown = name === "result" ? result.preset : name === "invitation" ? composer.preset?.id : null;
  for (const list of document.querySelectorAll(".questions")) list.replaceChildren(...questions(shown));
  if (isGone) byId("main").focus({ preventScroll: true });  // so that Tab goes on from here
}

/** The questions but for the one that is shown; each runs its preset. */
function questions(shown) {
  const asked = composer.presets.filter(({ id, group }) => group === "questions" && id !== shown);
  return asked.map(({ id, title }) => {
    const ask = () => {
      composer.usePreset(id);
      run(false);
    };
    return make("li", {}, make("button", { type: "button", onclick: ask }, title));
  });
}

const sayFirst = () => composer.usePreset(composer.presets[0]?.id) || composer.say({ request: requestOf(), contenders: ["minibg"] });

let isReading = false;

/** Show an entry of the history: its run or, without one, the request of its fragment. */
function arrive() {
  const said = readFragment(location.hash);
  isReading = true;
  complain(said?.error ?? "");
  announce("");
  isSent = Boolean(said?.request);
  if (said?.preset && !composer.usePreset(said.preset, said.contenders)) {
    complain(`There is no preset ${said.preset}. Choose one from the list.`);
    sayFirst();
  } else if (said?.request) {
    composer.say({ request: said.request, contenders: said.contenders ?? ["minibg"] });
  } else if (!said?.preset) {
    sayFirst();
  }
  isReading = false;
  const shown = past.get(history.state?.run);
  history.replaceState({ fragment: location.hash, ...history.state }, "");
  if (shown) show(shown);
  else if (said && !said.error) invite();
  else view("empty");
}

function show({ recording, caption }) {
  result.show(recording, caption);
  view("result");
  compare();
}

/** Describe the request in the form, and offer to run it. */
function invite() {
  const { title } = captionOf(composer.preset);
  byId("invitation-title").textContent = title;
  byId("invitation-see").replaceChildren(...prose(composer.see));
  byId("invitation-request").textContent = `${sentenceOf(composer.request)} On ${named(composer.chosen)}.`;
  view("invitation");
}

function onCompose() {
  if (!composer || isReading) return;
  isSent = false;
  rememberInUrl();
  if (byId("page").dataset.view === "result") compare();
  else invite();
}

/** Grey the run that is shown, if the form holds another request. */
function compare() {
  const { recording } = result;
  const ran = recording.request && { request: recording.request, contenders: recording.titles.map(([id]) => id) };
  const isStale = ran && !same(ran, { request: composer.request, contenders: composer.chosen });
  byId("result").classList.toggle("stale", Boolean(isStale));
  byId("stale").hidden = !isStale;
  byId("stale").textContent = isStale ? `This is what was run before. Press Run to see “${captionOf(composer.preset).title}”.` : "";
}

/** Write the form into the URL, so that each address is a link to its request. */
function rememberInUrl() {
  if (composer.isValid) history.replaceState(history.state, "", fragmentOfForm());
}

function fragmentOfForm() {
  const { preset, request, chosen } = composer;
  const isUsual = preset && same([...preset.contenders].sort(), [...chosen].sort());
  return fragmentOf({ preset: preset?.id, request, contenders: isUsual ? null : chosen });
}

/** Add an entry to the history for a run; the entry before gets back the address it had. */
function enterHistory(id, shown, fragment) {
  past.set(id, shown);
  if (past.size > KEPT) past.delete(past.keys().next().value);
  history.replaceState(history.state, "", history.state?.fragment || location.pathname);
  history.pushState({ run: id, fragment }, "", fragment);
}

async function share() {
  try {
    await navigator.clipboard.writeText(location.href);
    announce("The link is copied.");
  } catch {
    announce("The browser does not let the page copy the link: copy it from the address bar.");
  }
}

async function run(step) {
  const { request, chosen } = composer;
  if (!chosen.length) return complain("No contender is chosen. Choose one, two or three.");
  if (running) return;
  complain("");
  const caption = captionOf(composer.preset);
  const fragment = fragmentOfForm();
  const names = chosen.map((id) => [id, titles.get(id) ?? id]);
  const who = named(chosen);
  busy({ id: null });
  announce(`Starting ${who}…`);
  byId("page").classList.remove("unfolded");
  byId("unfold").setAttribute("aria-expanded", "false");
  if (matchMedia("(max-width: 880px)").matches) byId("main").scrollIntoView();
  try {
    running.id = await startRun(request, chosen, step);
  } catch (refused) {
    busy(null);
    announce("");
    complain(refused instanceof Refused ? refused.message : String(refused));
    return;
  }
  if (step) for (const id of chosen) getSources(id).catch(() => {});  // which will be asked for
  announce(`${step ? "Stepping" : "Running"} on ${who}…`);
  const shown = { recording: new Recording(names, { request, step }), caption };
  enterHistory(running.id, shown, fragment);
  follow(shown, running.id, who);
}

const named = (contenders) => contenders.map((id) => titles.get(id) ?? id).join(", ");

function captionOf(preset) {
  if (preset) return { title: preset.title, see: composer.see, preset: preset.id };
  return { title: isSent ? "A request somebody sent you" : "A request of your own" };
}

function busy(run) {
  running = run;
  byId("run").disabled = byId("step").disabled = run !== null;
  byId("stop").hidden = run === null;
}

function follow(shown, id, who) {
  const { recording } = shown;
  performance.clearMarks("last event");
  performance.clearMeasures("drawn");
  const stop = listen(`/runs/${encodeURIComponent(id)}/events`, {
    onStart() {
      complain("");
      recording.clear();
      if (past.get(history.state?.run) === shown) show(shown);
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
    view("result");
    compare();
  };
  const button = make("button", { type: "button", onclick: show }, name);
  byId("own-runs").prepend(make("li", {}, button));
  if (!running && byId("page").dataset.view !== "invitation") show();
  return recording;
}

begin();
