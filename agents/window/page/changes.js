// Every change as it comes: numbers and names masked, since the screen faces the room.

import { byId, element, write } from "./dom.js";
import { clock, inWords, maskName, maskNumber, number } from "./format.js";
import { contractOf, fieldOf, model, now, on } from "./model.js";
import { say, words } from "./words.js";

/** @import { Change } from "./model.js" */

const MOST = 60;

/** @typedef {{change: Change, delay: number}} Seen */

/** Newest first. @type {Seen[]} */
let seen = [];
/** Came while the list was held. @type {Seen[]} */
let held = [];
let missed = 0;
let paused = false;
let gap = false;
let stale = true;
let offered = "";

const filter = () => byId("changes-filter", HTMLSelectElement);

export function begin() {
  const pause = byId("pause", HTMLButtonElement);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) {
      seen = [...held, ...seen].slice(0, MOST);
      held = [];
      missed = 0;
    }
    say_pause();
    stale = true;
    draw();
  });
  filter().addEventListener("change", () => {
    stale = true;
    draw();
  });
  on("change", (change) => {
    const one = { change, delay: Math.max(0, Math.round(now() - Date.parse(change.time))) };
    if (paused) {
      missed += 1;
      held = [one, ...held].slice(0, MOST);
    } else {
      seen = [one, ...seen].slice(0, MOST);
    }
    stale = true;
  });
  on("gap", () => {
    gap = true;
    stale = true;
  });
  on("contracts", offer);
  on("language", () => {
    offered = "";
    offer();
    say_pause();
    stale = true;
    draw();
  });
  // However fast they come, the list is drawn four times a second.
  on("tick", draw);
}

function say_pause() {
  const pause = byId("pause", HTMLButtonElement);
  pause.dataset.say = paused ? "resume" : "pause";
  write(pause, say(paused ? "resume" : "pause"));
}

function offer() {
  const names = model.contracts.map((one) => inWords(one.title)).join();
  if (names === offered) return;
  offered = names;
  const before = filter().value;
  filter().replaceChildren(
    element("option", { value: "" }, say("all")),
    ...model.contracts.map((one) => element("option", { value: one.name }, inWords(one.title))),
  );
  if (contractOf(before)) filter().value = before;
}

function draw() {
  if (!stale) return;
  stale = false;
  const only = filter().value;
  const rows = seen.filter((one) => !only || one.change.contract === only);
  byId("changes", HTMLElement).replaceChildren(...rows.map(row));
  byId("no-changes", HTMLElement).hidden = rows.length > 0;
  const note = byId("changes-note", HTMLElement);
  note.hidden = !(paused && missed) && !gap;
  write(note, paused && missed ? words().pausedWith(number(missed)) : gap ? say("gap") : "");
}

/** @param {Seen} one */
function row({ change, delay }) {
  const contract = contractOf(change.contract);
  const personal = (/** @type {string} */ name) => Boolean(contract && fieldOf(contract, name)?.personal);
  const name = contract?.fields.find((one) => one.name === "name" || one.name.endsWith("_name"));
  const called = name && change.record?.[name.name];
  const hidden = Boolean(contract && personal(contract.key));
  return element(
    "li",
    {},
    element("time", { datetime: change.time }, clock(change.time)),
    element("span", { class: "op", "data-op": change.op }, say(change.op)),
    element("span", { class: "kind" }, contract ? inWords(contract.title) : change.contract),
    element("span", { class: "delay" }, delay < 60_000 ? words().milliseconds(delay) : ""),
    element(
      "span",
      { class: "what" },
      element("span", { class: "num" }, hidden ? maskNumber(change.key) : change.key),
      called ? " " : null,
      called && name ? element("span", { lang: "zh-CN" }, personal(name.name) ? maskName(String(called)) : String(called)) : null,
    ),
  );
}
