// 校核纠错: what was proposed from here, and what became of it.

import { Problem, read } from "./api.js";
import { announce, byId, element, write } from "./dom.js";
import { day, inWords, maskNumber, moment, number, told } from "./format.js";
import { open } from "./lookup.js";
import { contractOf, fieldOf, model, on } from "./model.js";
import * as form from "./propose.js";
import { shownRecord } from "./record.js";
import { go, view } from "./views.js";
import { say, sayIn, sayProblem, words } from "./words.js";

/** @import { Contract, Correction, Entry } from "./model.js" */

const PAGE = 50;
const STATES = /** @type {const} */ (["open", "sent", "received", "overdue", "accepted", "rejected"]);

/** @type {Correction[]} */
let listed = [];
/** @type {string | null} */
let next = null;
/** How many pages are shown. */
let pages = 1;
/** Of the record shown. @type {Correction[]} */
let ofRecord = [];
let ofKey = "";
let reading = false;
let readAt = 0;
let trouble = 0;
let offered = "";
/** The states that were seen before, by the correction's id. @type {Map<string, string>} */
const known = new Map();

const stateFilter = () => byId("corrections-state", HTMLSelectElement);
const contractFilter = () => byId("corrections-contract", HTMLSelectElement);

export function begin() {
  form.begin((filed) => {
    known.set(filed.id, filed.state);
    listed = [filed, ...listed];
    ofRecord = [filed, ...ofRecord];
    draw();
    drawList();
    void refresh();
  });
  stateFilter().addEventListener("change", anew);
  contractFilter().addEventListener("change", anew);
  byId("corrections-more", HTMLButtonElement).addEventListener("click", () => {
    pages += 1;
    void refresh();
  });
  on("session", () => void find());
  on("contracts", offer);
  on("language", () => {
    offered = "";
    offer();
    drawList();
  });
  addEventListener("hashchange", () => {
    if (view() === "corrections") void refresh();
  });
  on("tick", () => {
    // Seldom while nobody looks, soon while somebody waits.
    const waits = view() === "corrections" || ofRecord.some((one) => !one.answered_at);
    if (model.corrections && model.line && performance.now() - readAt > (waits ? 3_000 : 20_000)) void refresh();
  });
}

/** Say on a record that something is wrong. @param {Contract} contract @param {Entry} entry */
export const propose = (contract, entry) => form.open(contract, entry);

/** May this reader send corrections, and does this window take them? */
async function find() {
  let may = Boolean(model.session?.corrections);
  if (may) {
    try {
      await read("v1/corrections?limit=1");
    } catch (error) {
      const status = error instanceof Problem ? error.status : 0;
      may = !(status === 404 || status === 403);
    }
  }
  model.corrections = may;
  byId("to-corrections", HTMLElement).hidden = !may;
  if (may) await refresh();
}

function anew() {
  pages = 1;
  listed = [];
  void refresh();
}

async function refresh() {
  if (reading || !model.corrections) return;
  reading = true;
  try {
    /** @type {Correction[]} */
    const found = [];
    let after = null;
    for (let page = 0; page < pages; page++) {
      const body = await read(`v1/corrections?${query(after)}`);
      found.push(...body.corrections);
      after = body.next;
      if (!after) break;
    }
    listed = found;
    next = after;
    trouble = 0;
    hear(found);
    const shown = shownRecord();
    if (shown) await readOf(shown);
  } catch (error) {
    trouble = error instanceof Problem ? error.status : 500;
  } finally {
    reading = false;
    readAt = performance.now();
  }
  drawList();
}

/** @param {string | null} after */
function query(after) {
  const asked = new URLSearchParams({ limit: String(PAGE) });
  const state = stateFilter().value;
  if (state && state !== "open" && state !== "overdue") asked.set("state", state);
  if (contractFilter().value) asked.set("contract", contractFilter().value);
  if (after) asked.set("after", after);
  return asked;
}

/** @param {Entry} shown */
async function readOf(shown) {
  const asked = new URLSearchParams({ contract: shown.contract, key: shown.key, limit: String(PAGE) });
  const body = await read(`v1/corrections?${asked}`);
  if (shownRecord()?.key !== shown.key) return;
  ofKey = `${shown.contract} ${shown.key}`;
  if (JSON.stringify(ofRecord) !== JSON.stringify(body.corrections)) {
    ofRecord = body.corrections;
    draw();
  }
}

/** Say aloud what was answered since the last look. @param {Correction[]} found */
function hear(found) {
  for (const one of found) {
    const before = known.get(one.id);
    if (before && before !== one.state && (one.state === "accepted" || one.state === "rejected")) {
      announce(words().answered(say(one.state), titleOf(one)));
    }
    known.set(one.id, one.state);
  }
}

function offer() {
  const names = model.contracts.map((one) => inWords(one.title)).join();
  if (names === offered) return;
  offered = names;
  const state = stateFilter().value;
  stateFilter().replaceChildren(
    element("option", { value: "" }, say("correctionsAll")),
    ...STATES.map((one) => element("option", { value: one }, say(one))),
  );
  stateFilter().value = state;
  const contract = contractFilter().value;
  contractFilter().replaceChildren(
    element("option", { value: "" }, say("all")),
    ...model.contracts.map((one) => element("option", { value: one.name }, inWords(one.title))),
  );
  if (contractOf(contract)) contractFilter().value = contract;
}

/** @param {Correction} one */
const wanted = (one) => {
  const state = stateFilter().value;
  if (state === "open") return one.state === "sent" || one.state === "received";
  return state !== "overdue" || one.overdue;
};

function drawList() {
  const rows = listed.filter(wanted);
  const list = byId("corrections-list", HTMLElement);
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.id : undefined;
  list.replaceChildren(...rows.map((one) => item(one, true)));
  if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-id="${CSS.escape(focused)}"]`))?.focus();
  byId("no-corrections", HTMLElement).hidden = rows.length > 0;
  byId("corrections-more", HTMLElement).hidden = !next;
  const message = byId("corrections-message", HTMLElement);
  message.hidden = trouble === 0 || !model.line;
  write(message, trouble ? sayProblem(trouble) : "");
  const waiting = listed.filter((one) => one.overdue).length;
  const count = byId("open-corrections", HTMLElement);
  count.hidden = waiting === 0;
  write(count, waiting ? `${say("overdue")} ${number(waiting)}` : "");
}

/** The corrections of the record shown, beneath it. */
export function draw() {
  const place = document.getElementById("record-corrections");
  const shown = shownRecord();
  if (!place || !shown) return;
  if (ofKey !== `${shown.contract} ${shown.key}`) {
    ofRecord = listed.filter((one) => one.contract === shown.contract && one.key === shown.key);
    ofKey = `${shown.contract} ${shown.key}`;
    readAt = 0;
  }
  place.replaceChildren(
    ...(ofRecord.length
      ? [
          element("h4", {}, say("ofThis")),
          element("ul", { class: "corrections-list" }, ...ofRecord.map((one) => item(one, false))),
        ]
      : []),
  );
}

/** @param {Correction} one */
function titleOf(one) {
  const contract = contractOf(one.contract);
  const field = contract && fieldOf(contract, one.field);
  return field ? inWords(field.title) : one.field;
}

/**
 * @param {Correction} one
 * @param {boolean} alone not beneath its record
 */
function item(one, alone) {
  const contract = contractOf(one.contract);
  const field = contract && fieldOf(contract, one.field);
  const hidden = contract && fieldOf(contract, contract.key)?.personal;
  const state = one.overdue ? "overdue" : one.state;
  const parts = [
    element("p", { class: "state", "data-state": state }, element("b", {}, say(state)), soft(more(one))),
    element("div", { class: "said" }, element(
      "p",
      { class: "what" },
      element("b", {}, titleOf(one)),
      " ",
      element("del", {}, told(field, one.seen)),
      element("span", { class: "arrow", "aria-hidden": "true" }, "→"),
      element("span", { class: "unseen" }, ` ${say("to")} `),
      element("ins", {}, told(field, one.proposed)),
    ),
    one.note ? element("p", { class: "note" }, element("span", { class: "soft" }, sayIn(`${say("noteIs")}：`, `${say("noteIs")}: `)), one.note) : null,
    one.evidence ? element("p", { class: "evidence" }, element("span", { class: "soft" }, sayIn(`${say("evidenceIs")}：`, `${say("evidenceIs")}: `)), one.evidence) : null),
  ];
  const filed = `${moment(one.filed_at)}${one.filed_by ? `　${words().filedBy(one.filed_by)}` : ""}`;
  const about = element("div", { class: "about" });
  if (alone) {
    const button = element("button", { type: "button", class: "plain", "data-id": one.id }, say("show"));
    button.setAttribute("aria-label", `${say("show")} ${one.key}`);
    button.addEventListener("click", () => {
      go("lookup");
      void open(one.contract, one.key);
    });
    about.append(
      element("p", {}, `${contract ? inWords(contract.title) : one.contract} `, element("span", { class: "num" }, hidden ? maskNumber(one.key) : one.key)),
      element("p", { class: "filed soft" }, filed),
      button,
    );
  } else {
    about.append(element("p", { class: "filed soft" }, filed));
  }
  return element("li", { "data-state": state }, ...parts, about);
}

/** @param {Correction} one */
function more(one) {
  if (one.state === "accepted" || one.state === "rejected") return one.answered_at ? moment(one.answered_at) : "";
  if (one.overdue && one.due) return words().dueWas(day(one.due));
  if (one.state === "received") return one.due ? words().due(day(one.due)) : "";
  return say("sentMore");
}

/** @param {string} text */
const soft = (text) => (text ? element("span", { class: "soft" }, ` ${text}`) : null);
