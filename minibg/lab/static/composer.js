// The form in which a request is composed: presets, rows of tasks, choices, contenders.
// Nothing about runs may live here.

import { byId, make, prose } from "./dom.js";
import { OWN } from "./recording.js";
import { CHOICES, MOST, requestOf, same, taskOf } from "./request.js";

const CHOSEN = ["endpoint", "dependency", "client", "server"];
const GROUPS = {
  questions: "Questions",
  rules: "Rules",
  traps: "Traps",
  misunderstandings: "Misunderstandings, in quotes",
  versions: "Versions of the walkthrough",
};

/** The form. `onChange` is called whenever its content has changed. */
export class Composer {
  constructor({ presets, contenders, onChange }) {
    this.presets = presets;
    this.contenders = contenders.filter(({ id }) => id !== OWN);
    this.own = contenders.find(({ id }) => id === OWN);
    this.onChange = onChange;
    for (const field of CHOSEN) byId(field).append(...CHOICES[field].map((choice) => new Option(choice)));
    this.fillPresets();
    this.fillContenders();
    byId("preset").addEventListener("change", () => this.usePreset(byId("preset").value));
    byId("add").addEventListener("click", () => this.addRow());
    byId("composer").addEventListener("change", (event) => {
      if (event.target.id !== "preset") this.changed();
    });
  }

  fillPresets() {
    const groups = Object.entries(GROUPS).map(([group, label]) => {
      const options = this.presets
        .filter((preset) => preset.group === group)
        .map((preset) => new Option(preset.title, preset.id));
      return make("optgroup", { label }, ...options);
    });
    const own = new Option("A request of your own", "");
    byId("preset").append(own, ...groups.filter((group) => group.children.length));
  }

  fillContenders() {
    const isVersion = (contender) => /^v\d+$/.test(contender.id);
    const box = (contender) => {
      const input = make("input", { type: "checkbox", name: "contender", value: contender.id, disabled: !contender.available });
      const why = contender.available ? null : make("small", {}, contender.why_not);
      const name = contender.idea ? `${contender.title}: ${contender.idea}` : contender.title;
      return make("label", { className: "check" }, input, make("span", {}, name, why ? " " : null, why));
    };
    byId("contenders").append(...this.contenders.filter((one) => !isVersion(one)).map(box));
    const versions = this.contenders.filter(isVersion);
    byId("versions").hidden = !versions.length;
    byId("versions").lastElementChild.append(...versions.map(box));
  }

  boxes() {
    return [...document.querySelectorAll("input[name=contender]")];
  }

  /** The ids of the contenders that are chosen. */
  get chosen() {
    return this.boxes().filter((box) => box.checked).map((box) => box.value);
  }

  /** The request in the form. */
  get request() {
    const tasks = [...byId("tasks").children].map((row) => ({
      kind: row.querySelector("[name=kind]").value,
      ms: row.querySelector("[name=ms]").valueAsNumber,
      does: row.querySelector("[name=does]").value,
    }));
    const fields = Object.fromEntries(CHOSEN.map((field) => [field, byId(field).value]));
    return requestOf({ tasks, ...fields, fail_fast: byId("fail_fast").checked });
  }

  /** The preset that has the request in the form, if there is one. */
  get preset() {
    const preset = this.presets.find((one) => one.id === byId("preset").value);
    return preset && same(requestOf(preset.request), this.request) ? preset : null;
  }

  /** What to look for, with the name of the framework that is chosen: FastAPI's list runs as Starlette's does. */
  get see() {
    const see = this.preset?.see ?? "";
    const [named, other] = see.includes("FastAPI") ? ["FastAPI", "Starlette"] : ["Starlette", "FastAPI"];
    const isChosen = (name) => this.chosen.includes(name.toLowerCase());
    return isChosen(other) && !isChosen(named) ? see.replaceAll(named, other) : see;
  }

  /** Whether the value of every field is allowed. */
  get isValid() {
    return byId("composer").checkValidity();
  }

  /** Fill the form in; `contenders` that are not available are left out. */
  say({ preset = "", request, contenders }) {
    byId("preset").value = preset;
    byId("tasks").replaceChildren();
    for (const task of request.tasks) this.appendRow(task);
    for (const field of CHOSEN) byId(field).value = request[field];
    byId("fail_fast").checked = request.fail_fast;
    for (const box of this.boxes()) box.checked = !box.disabled && contenders.includes(box.value);
    byId("versions").open = contenders.some((id) => /^v\d+$/.test(id));
    this.changed();
  }

  /** Fill the form in from a preset; returns false if there is no preset of that id. */
  usePreset(id, contenders) {
    const preset = this.presets.find((one) => one.id === id);
    if (!preset) {
      this.changed();
      return false;
    }
    this.say({ preset: id, request: requestOf(preset.request), contenders: contenders ?? preset.contenders });
    return true;
  }

  addRow() {
    this.appendRow(taskOf());
    byId("tasks").lastElementChild.querySelector("[name=kind]").focus();
    this.changed();
  }

  appendRow(task) {
    const choose = (name, choices, chosen) => {
      const select = make("select", { name });
      select.append(...choices.map((choice) => new Option(choice)));
      select.value = chosen;
      return select;
    };
    const row = make(
      "li",
      {},
      make("span", { className: "number" }),
      choose("kind", CHOICES.kind, task.kind),
      make("span", { className: "ms" }, make("input", { type: "number", name: "ms", min: 0, max: MOST.ms, step: 1, required: true, value: task.ms }), make("i", { aria: { hidden: "true" } }, "ms")),
      choose("does", CHOICES.does, task.does),
      make("button", { type: "button", className: "remove", onclick: () => this.removeRow(row) }, "×"),
    );
    byId("tasks").append(row);
  }

  removeRow(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector(".remove") ?? byId("add")).focus();
    this.changed();
  }

  /** Say what is to be seen; if the preset is changed, the fields stay where the pointer is. */
  saySee() {
    const see = byId("see");
    if (this.preset) {
      see.style.minHeight = "";
      see.replaceChildren(...prose(this.see));
    } else if (see.textContent) {
      see.style.minHeight = `${see.offsetHeight}px`;
      see.replaceChildren("Your own request, changed from the preset.");
    }
    see.hidden = !see.textContent;
  }

  changed() {
    [...byId("tasks").children].forEach((row, index) => {
      const name = `Task ${index + 1}`;
      row.querySelector(".number").textContent = index + 1;
      row.querySelector("[name=kind]").setAttribute("aria-label", `${name}, kind`);
      row.querySelector("[name=ms]").setAttribute("aria-label", `${name}, milliseconds`);
      row.querySelector("[name=does]").setAttribute("aria-label", `${name}, does`);
      row.querySelector(".remove").setAttribute("aria-label", `Remove task ${index + 1}`);
    });
    byId("add").disabled = byId("tasks").children.length >= MOST.tasks;
    const full = this.chosen.length >= MOST.contenders;
    for (const box of this.boxes()) {
      const { available } = this.contenders.find((one) => one.id === box.value);
      box.disabled = !available || (full && !box.checked);
    }
    const { preset } = this;
    if (!preset) byId("preset").value = "";
    this.saySee();
    this.onChange();
  }
}
