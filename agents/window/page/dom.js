// Making and finding elements. Nothing on this page is made from markup in a string.

/**
 * The element with this id, which is of this kind.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`Expected ${kind.name} #${id}, got ${found}`);
  return found;
}

/** @typedef {Node | string | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined>} Attributes */

/**
 * A new element; an attribute that is true is empty, one that is false or null is left out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  dress(made, attributes);
  for (const child of children) if (child || child === "") made.append(child);
  return made;
}

/**
 * A new element of a drawing.
 * @param {string} name
 * @param {Attributes} [attributes]
 * @param {...Node} children
 */
export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  dress(made, attributes);
  made.append(...children);
  return made;
}

/**
 * @param {Element} made
 * @param {Attributes} attributes
 */
function dress(made, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

/**
 * Three bars for three levels: how many are filled tells good, late and bad apart without colour.
 * @param {string} state
 */
export function levels(state) {
  const bars = [34, 24, 15].map((width, at) =>
    drawn("rect", { x: 1, y: 2 + at * 11, width, height: 7 }),
  );
  return drawn(
    "svg",
    { class: "levels", viewBox: "0 0 36 35", "aria-hidden": "true", "data-state": state },
    ...bars,
  );
}

/**
 * Text that only a screen reader reads.
 * @param {string} text
 */
export const unseen = (text) => element("span", { class: "unseen" }, text);

let waiting = 0;

/**
 * Say something to whoever listens instead of looking; the last thing said within a moment counts.
 * @param {string} text
 */
export function announce(text) {
  const said = byId("said", HTMLElement);
  said.textContent = "";
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    said.textContent = text;
  }, 120);
}

/**
 * Set a text only where it differs, so that nothing is told twice.
 * @param {Element} node
 * @param {string} text
 */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
