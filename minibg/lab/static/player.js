// The moment that is shown, and the ways to move it: slider, buttons, arrow keys, play.
// The player does not know what a moment looks like.

import { byId } from "./dom.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4];
/** How long play stays at a moment, in ms. */
const DWELL = 300;

export class Player {
  /** `onMove(moment, index)` is called for each move. */
  constructor({ onMove }) {
    this.onMove = onMove;
    this.moments = [];
    this.index = 0;
    this.speed = 1;
    this.timer = null;
    byId("moment").addEventListener("input", () => {
      this.pause();
      this.moveTo(byId("moment").valueAsNumber);
    });
    byId("back").addEventListener("click", () => this.step(-1));
    byId("on").addEventListener("click", () => this.step(1));
    byId("play").addEventListener("click", () => (this.timer ? this.pause() : this.play()));
    byId("slower").addEventListener("click", () => this.pace(-1));
    byId("faster").addEventListener("click", () => this.pace(1));
    document.addEventListener("keydown", (event) => this.key(event));
    this.pace(0);
  }

  /**
   * Load moments, each with a `t` and a `text`, and begin with the one at `index`. A single step
   * leads to the next moment of the `type`; without one, to the next moment.
   */
  load(moments, index, type = null) {
    this.pause();
    this.moments = moments;
    this.type = type;
    byId("back").lastElementChild.textContent = `Previous ${type ?? "event"}`;
    byId("on").lastElementChild.textContent = `Next ${type ?? "event"}`;
    this.pace(0);
    byId("player").hidden = moments.length < 2;
    byId("moment").max = Math.max(moments.length - 1, 0);
    if (moments.length) this.moveTo(index);
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!steps || event.altKey || event.ctrlKey || event.metaKey || byId("player").hidden) return;
    if (event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    this.step(steps);
  }

  step(by) {
    this.pause();
    let to = this.index + by;
    while (this.type && this.moments[to] && this.moments[to].type !== this.type) to += by;
    this.moveTo(to);
  }

  moveTo(index) {
    this.index = Math.min(Math.max(index, 0), this.moments.length - 1);
    const moment = this.moments[this.index];
    const slider = byId("moment");
    slider.value = this.index;
    slider.setAttribute("aria-valuetext", moment.text);
    const share = this.moments.length > 1 ? this.index / (this.moments.length - 1) : 0;
    slider.style.setProperty("--share", `${share * 100}%`);
    byId("now").textContent = moment.text;
    byId("back").disabled = this.index === 0;
    byId("on").disabled = this.index === this.moments.length - 1;
    this.onMove(moment, this.index);
  }

  /** Move to the first moment for which `wanted` holds, if there is one. */
  find(wanted) {
    const index = this.moments.findIndex(wanted);
    if (index < 0) return;
    this.pause();
    this.moveTo(index);
  }

  play() {
    if (this.index === this.moments.length - 1) this.moveTo(0);
    byId("play").textContent = "Pause";
    const go = () => {
      this.moveTo(this.index + 1);
      if (this.index === this.moments.length - 1) this.pause();
      else this.timer = setTimeout(go, DWELL / this.speed);
    };
    this.timer = setTimeout(go, DWELL / this.speed);
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
    byId("play").textContent = "Play";
  }

  pace(by) {
    const at = Math.min(Math.max(SPEEDS.indexOf(this.speed) + by, 0), SPEEDS.length - 1);
    this.speed = SPEEDS[at];
    byId("speed").textContent = this.moments.length < 2 ? "" : paceOf(this.moments, this.speed);
    byId("slower").disabled = at === 0;
    byId("faster").disabled = at === SPEEDS.length - 1;
  }
}

/** How fast play is beside what was recorded, in words. */
function paceOf(moments, speed) {
  const recorded = Math.max(moments.at(-1).t - moments[0].t, 0.001);
  const slowed = ((moments.length - 1) * DWELL) / speed / recorded;
  if (slowed > 1.25) return `slowed down ${rounded(slowed)} times`;
  return slowed < 0.8 ? `sped up ${rounded(1 / slowed)} times` : "as fast as it ran";
}

const rounded = (factor) => (factor < 10 ? Number(factor.toPrecision(2)) : Math.round(factor));
