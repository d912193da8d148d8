// One page, three views; the address says which, so that Back works.

import { byId } from "./dom.js";
import { model, on } from "./model.js";

const VIEWS = ["lookup", "state", "corrections"];

export function begin() {
  addEventListener("hashchange", () => turn(true));
  on("session", () => turn(false));
  turn(false);
}

/** The view that is shown. */
export function view() {
  const named = location.hash.slice(1);
  if (named === "corrections" && !model.corrections && model.session) return "lookup";
  return VIEWS.includes(named) ? named : "lookup";
}

/** @param {string} to */
export function go(to) {
  location.hash = to;
}

/** @param {boolean} focus */
function turn(focus) {
  // The skip link's own target is no view.
  if (location.hash && !VIEWS.includes(location.hash.slice(1))) {
    document.getElementById(location.hash.slice(1))?.focus();
    return;
  }
  const now = view();
  for (const each of VIEWS) byId(`view-${each}`, HTMLElement).hidden = each !== now;
  for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-view]"))) {
    if (link.dataset.view === now) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (focus) {
    byId(`${now}-title`, HTMLElement).focus();
    scrollTo(0, 0);
  } else if (now === "lookup") {
    byId("key", HTMLInputElement).focus();
  }
}
