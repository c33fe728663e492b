// The pictures of a run as one standalone SVG, and files for the visitor to keep.
// The SVG is a copy in light colours, with the rules of the style sheet written into each element.

import { verdictOf } from "./recording.js";
import { noteOf } from "./table.js";
import { measure } from "./timeline.js";

const SVG = "http://www.w3.org/2000/svg";
const WRITTEN = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin",
  "opacity", "font-family", "font-size", "font-weight", "font-style", "paint-order",
];
const LEFT_OUT = ".veil, .hit";
const MARGIN = 24;

/** One SVG, as text, with what differs, the pictures of all parts, one below the other, and the legend. */
export function svgOf(views, { title, request, differences, legend }) {
  const host = document.body.appendChild(document.createElement("div"));
  host.className = "printed";
  const width = Math.max(...views.map(({ timeline }) => timeline.svg.width.baseVal.value));
  const svg = host.appendChild(node("svg", { class: "timeline", width: width + 2 * MARGIN }));
  svg.append(node("rect", { class: "paper", width: "100%", height: "100%" }));
  let y = MARGIN + 12;
  const write = (text, className, step) => {
    for (const line of wrapped(text, width / 6.4)) {
      svg.append(node("text", { class: className, x: MARGIN, y }, line));
      y += step;
    }
  };
  write(title, "title", 20);
  write(request, "tick", 18);
  for (const difference of differences) write(noteOf(difference).replaceAll("`", ""), "label", 16);
  for (const { part, timeline } of views) {
    y += 18;
    write(part.title, "title", 18);
    write(verdictOf(part).map(({ text }) => text).join(" "), "label", 16);
    const picture = timeline.svg.cloneNode(true);
    for (const element of picture.querySelectorAll(LEFT_OUT)) element.remove();
    const group = node("g", { transform: `translate(${MARGIN} ${y - 8})` });
    group.append(...picture.childNodes);
    svg.append(group);
    y += timeline.svg.height.baseVal.value;
  }
  y = writeLegend(svg, legend, y + 12, width);
  svg.setAttribute("height", y + MARGIN);
  svg.setAttribute("viewBox", `0 0 ${width + 2 * MARGIN} ${y + MARGIN}`);
  svg.prepend(node("title", {}, title));
  writeStyles(svg);
  host.remove();
  return new XMLSerializer().serializeToString(svg);
}

/** The samples of the legend, in rows; returns where the last ends. */
function writeLegend(svg, legend, top, width) {
  let [x, y] = [MARGIN, top];
  for (const item of legend) {
    const reach = 28 + measure(item.textContent) + 18;
    if (x + reach > MARGIN + width && x > MARGIN) [x, y] = [MARGIN, y + 20];
    const group = svg.appendChild(node("g", { transform: `translate(${x} ${y})` }));
    group.append(...[...item.firstElementChild.children].map((shape) => shape.cloneNode(true)));
    group.append(node("text", { class: "label", x: 28, y: 12 }, item.textContent));
    x += reach;
  }
  return legend.length ? y + 16 : top;
}

function writeStyles(svg) {
  const elements = [...svg.querySelectorAll("rect, line, path, text")];
  const styles = elements.map((element) => {
    const computed = getComputedStyle(element);
    return WRITTEN.map((name) => [name, computed.getPropertyValue(name)]);
  });
  elements.forEach((element, index) => {
    for (const [name, value] of styles[index]) if (value) element.setAttribute(name, value);
  });
  for (const element of [svg, ...svg.querySelectorAll("*")]) {
    for (const name of ["class", "role", "tabindex", "data-key", "aria-label"]) element.removeAttribute(name);
  }
}

function wrapped(text, length) {
  const lines = [""];
  for (const word of text.split(" ").filter(Boolean)) {
    const line = `${lines.at(-1)} ${word}`.trim();
    if (line.length <= length) lines[lines.length - 1] = line;
    else lines.push(word);
  }
  return lines.filter(Boolean);
}

function node(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

/** Have the browser download a file. */
export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
