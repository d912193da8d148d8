// The one line that says whether what the page shows can be relied on.

import { byId, levels, write } from "./dom.js";
import { inWords, span } from "./format.js";
import { ageOf, model, on, stateOf } from "./model.js";
import { say, sayIn, words } from "./words.js";

/** @import { State } from "./model.js" */

/** @type {State[]} From well to ill. */
const ORDER = ["good", "wait", "late", "bad"];
let marked = "";

export function begin() {
  on("tick", draw);
  on("contracts", draw);
  on("line", draw);
  on("language", draw);
}

function draw() {
  const states = model.contracts.map(stateOf);
  const worst = states.reduce((a, b) => (ORDER.indexOf(b) > ORDER.indexOf(a) ? b : a), "good");
  const known = model.contracts.length > 0;
  /** @type {State} */
  const state = !model.line ? "bad" : known ? worst : "wait";
  write(byId("verdict", HTMLElement), !known ? say("connecting") : model.line ? say(state) : say("lineLost"));
  write(byId("verdict-more", HTMLElement), more(state, known));
  byId("verdict", HTMLElement).dataset.state = state;
  byId("strip", HTMLElement).dataset.state = state;
  byId("verdict-help", HTMLElement).hidden = !model.line || !(state === "late" || state === "bad");
  if (marked !== state) {
    marked = state;
    byId("verdict-mark", HTMLElement).replaceChildren(levels(state));
  }
  write(byId("node", HTMLElement), model.office);
  const trouble = state === "good" || state === "wait" ? "" : sayIn("【！】", "(!) ");
  const title = `${trouble}${model.office} · ${say("title")}`;
  if (document.title !== title) document.title = title;
}

/**
 * @param {State} state
 * @param {boolean} known
 */
function more(state, known) {
  if (!known) return "";
  if (!model.line) return words().away(span((performance.now() - model.lost) / 1000));
  const ill = model.contracts.filter((one) => stateOf(one) !== "good");
  if (state !== "good") return words().which(ill.map((one) => inWords(one.title)).join(sayIn("、", ", ")));
  const oldest = Math.max(...model.contracts.map((one) => ageOf(one) ?? 0));
  return `${say("oldest")} ${words().completeAgo(span(oldest))}`;
}
