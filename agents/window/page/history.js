// What changed in the record shown, when, from what to what.

import { Problem, read, recordPath } from "./api.js";
import { element, unseen } from "./dom.js";
import { inWords, moment, told } from "./format.js";
import { contractOf } from "./model.js";
import { say, words } from "./words.js";

/** @import { Change, Contract, Entry, Values } from "./model.js" */
/** @typedef {{op: "put" | "delete", record: Values | null, time: string, id: string, source: string}} Past */

const MOST = 50;

/** @type {{contract: string, key: string, changes: Past[], since: string | null, known: boolean} | null} */
let past = null;

/**
 * Read the history of what is shown now, and draw it when it is here.
 * @param {Entry} entry
 */
export async function load(entry) {
  const mine = { contract: entry.contract, key: entry.key, changes: /** @type {Past[]} */ ([]), since: null, known: false };
  past = mine;
  redraw();
  try {
    const body = await read(`${recordPath(entry.contract, entry.key)}/history?limit=${MOST}`);
    const seen = new Set(mine.changes.map((one) => one.id));
    mine.changes.push(...body.changes.filter((/** @type {Past} */ one) => !seen.has(one.id)));
    mine.since = body.since;
    mine.known = true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return; // without a history the record is as good
  }
  if (past === mine) redraw();
}

/**
 * A change has just come.
 * @param {Change} change
 */
export function add(change) {
  if (!past || past.contract !== change.contract || past.key !== change.key) return;
  past.changes.unshift(change);
  past.changes.length = Math.min(past.changes.length, MOST);
}

function redraw() {
  const contract = past && contractOf(past.contract);
  const place = document.getElementById("history");
  if (contract && place) place.replaceWith(section(contract));
}

/**
 * The history as a part of the record.
 * @param {Contract} contract
 */
export function section(contract) {
  const made = element("section", { id: "history", "aria-labelledby": "history-title" });
  const now = past;
  if (!now || (!now.known && now.changes.length === 0)) {
    made.hidden = true;
    return made;
  }
  const since = now.since ? words().historySince(moment(now.since)) : "";
  made.append(
    element("h4", { id: "history-title" }, say("history")),
    now.changes.length
      ? element("ol", {}, ...now.changes.map((one, at) => item(contract, one, now.changes[at + 1])))
      : element("p", { class: "hint" }, say("historyNone")),
    element("p", { class: "hint" }, since),
  );
  return made;
}

/**
 * @param {Contract} contract
 * @param {Past} one
 * @param {Past | undefined} older
 */
function item(contract, one, older) {
  const when = element("time", { datetime: one.time }, moment(one.time));
  return element("li", {}, when, element("div", {}, ...lines(contract, one, older)));
}

/**
 * @param {Contract} contract
 * @param {Past} one
 * @param {Past | undefined} older
 */
function lines(contract, one, older) {
  if (one.op === "delete" || !one.record) return [element("p", {}, say("historyDelete"))];
  if (!older?.record) return [element("p", { class: "soft" }, say("historyFirst"))];
  const record = one.record;
  const old = older.record;
  const changed = contract.fields.filter((field) => told(field, record[field.name]) !== told(field, old[field.name]));
  if (changed.length === 0) return [element("p", { class: "soft" }, say("historySame"))];
  return changed.map((field) =>
    element(
      "p",
      {},
      element("span", { class: "what" }, inWords(field.title)),
      element("del", {}, told(field, old[field.name])),
      element("span", { class: "arrow", "aria-hidden": "true" }, "→"),
      unseen(` ${say("to")} `),
      element("ins", {}, told(field, record[field.name])),
    ),
  );
}
