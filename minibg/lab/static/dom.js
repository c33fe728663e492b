// The page's elements, by id and newly made. Nothing else may live here.

export const byId = (id) => document.getElementById(id);

/** An element with these properties and children; `aria` and `data` are objects of attributes. */
export function make(tag, { aria = {}, data = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The nodes of a text that has `code` between backticks. */
export const prose = (text) =>
  text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));

export const calm = matchMedia("(prefers-reduced-motion: reduce)");
