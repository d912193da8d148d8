// The record that was found: what it says, how fresh that is, and every change to it as it comes.

import { read, recordPath } from "./api.js";
import { announce, byId, element, levels, write } from "./dom.js";
import { inWords, moment, shown, span, told } from "./format.js";
import * as history from "./history.js";
import { ageOf, contractOf, fieldOf, model, now, on, stateOf } from "./model.js";
import { draw as drawCorrections, propose } from "./corrections.js";
import { say, sayIn, words } from "./words.js";

/** @import { Change, Contract, Entry, Field } from "./model.js" */

/** @type {Entry | null} */
let entry = null;
let gone = false;
/** What the fields that changed under the clerk's eyes were before. @type {Map<string, any>} */
let before = new Map();
/** @type {(() => void) | null} */
let back = null;
/** When a change was last said aloud. */
let told_at = -Infinity;
/** How many changes of the contract had been refused when the record was read. */
let refusals = 0;
/** The names of divisions, as the contract of divisions has them. @type {Map<string, Promise<string>>} */
const places = new Map();

export function begin() {
  on("change", arrive);
  on("tick", tick);
  on("language", draw);
  on("contracts", () => void lookForRefusal());
  addEventListener("beforeprint", printed);
}

/** The record shown, if one is. */
export const shownRecord = () => (gone ? null : entry);

const place = () => byId("record", HTMLElement);

/**
 * @param {Entry} found
 * @param {(() => void) | null} way back to where it was found
 */
export function show(found, way) {
  entry = found;
  gone = false;
  before = new Map();
  back = way;
  refusals = contractOf(found.contract)?.refused ?? 0;
  draw();
  place().hidden = false;
  void history.load(found);
}

/** Show none. */
export function hide() {
  entry = null;
  gone = false;
  place().hidden = true;
  place().replaceChildren();
}

/** @param {Contract} contract */
const headlineField = (contract) =>
  contract.fields.find((one) => one.name === "name") ??
  contract.fields.find((one) => one.name.endsWith("_name") && one.name !== contract.key);

/**
 * What the record is called.
 * @param {Contract} contract
 * @param {Entry} one
 */
export function headlineOf(contract, one) {
  const field = headlineField(contract);
  const value = field && one.record[field.name];
  return value ? String(value) : one.key;
}

/** @param {Change} change */
function arrive(change) {
  if (!entry || change.contract !== entry.contract || change.key !== entry.key) return;
  const contract = contractOf(change.contract);
  if (!contract) return;
  if (change.op === "delete" || !change.record) {
    gone = true;
    draw();
    announce(say("gone"));
    return;
  }
  const old = entry.record;
  const record = change.record;
  const changed = contract.fields.filter((one) => told(one, record[one.name]) !== told(one, old[one.name]));
  before = new Map(changed.map((one) => [one.name, old[one.name]]));
  const { refused, ...kept } = entry;
  entry = { ...kept, ...change, record };
  gone = false;
  refusals = contract.refused;
  history.add(change);
  draw();
  if (changed.length && performance.now() - told_at > 4000) {
    told_at = performance.now();
    announce(words().justChanged(changed.map((one) => inWords(one.title)).join(sayIn("、", ", "))));
  }
}

/** A change that breaks the contract does not come by the feed: when there are more of them, ask. */
async function lookForRefusal() {
  const mine = entry;
  const contract = mine && contractOf(mine.contract);
  if (!mine || !contract || gone || contract.refused <= refusals) return;
  refusals = contract.refused;
  try {
    const again = await read(recordPath(mine.contract, mine.key));
    if (entry !== mine || !again.refused) return;
    entry = again;
    draw();
    announce(say("refused"));
  } catch {
    // Asked again with the next one.
  }
}

function draw() {
  const contract = entry && contractOf(entry.contract);
  if (!entry || !contract) return;
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.id : "";
  if (gone) {
    place().replaceChildren(
      element("h3", { id: "record-title", class: "plain" }, say("gone")),
      element("p", { class: "hint" }, say("goneHint")),
    );
    return;
  }
  const headline = headlineField(contract);
  const titled = headline && entry.record[headline.name] ? headline : null;
  const rest = contract.fields.filter((one) => one.name !== contract.key && one !== titled);
  place().replaceChildren(
    tools(contract),
    lead(contract, entry, titled),
    proof(contract, entry),
    ...refusal(contract, entry),
    element("dl", { class: "fields" }, ...rest.map((one) => row(contract, one))),
    element("div", { id: "record-corrections" }),
    history.section(contract),
  );
  drawCorrections();
  if (focused) document.getElementById(focused)?.focus();
}

/** @param {Contract} contract */
function tools(contract) {
  const bar = element("div", { class: "tools" });
  if (back) {
    const button = element("button", { type: "button", id: "record-back", class: "plain" }, say("back"));
    button.addEventListener("click", back);
    bar.append(button);
  }
  bar.append(element("span", { class: "kind" }, `${inWords(contract.title)}　`, element("span", { class: "soft" }, entry?.dataschema ?? contract.name)));
  if (model.corrections) {
    const button = element("button", { type: "button", id: "record-wrong" }, say("wrong"));
    button.addEventListener("click", () => entry && propose(contract, entry));
    bar.append(button);
  }
  const print = element("button", { type: "button", id: "record-print" }, say("print"));
  print.addEventListener("click", () => window.print());
  bar.append(print);
  return bar;
}

/**
 * The answer at a glance: who or what, and its number.
 * @param {Contract} contract
 * @param {Entry} one
 * @param {Field | null} titled
 */
function lead(contract, one, titled) {
  const key = fieldOf(contract, contract.key);
  const number = element("dd", {}, ...shown(key, one.key), ...was(key));
  if (before.has(contract.key)) number.className = "changed";
  const title = element("h3", { id: "record-title", lang: titled ? "zh-CN" : null }, titled ? String(one.record[titled.name]) : inWords(contract.title));
  const head = element("div", { class: "headline", "data-field": titled?.name }, title, ...was(titled ?? undefined));
  if (titled && before.has(titled.name)) head.classList.add("changed");
  return element(
    "div",
    { class: "lead" },
    head,
    element("dl", {}, element("div", { "data-field": contract.key }, element("dt", {}, key ? inWords(key.title) : contract.key), number)),
  );
}

/**
 * How far this can be trusted, in one line.
 * @param {Contract} contract
 * @param {Entry} one
 */
function proof(contract, one) {
  return element(
    "p",
    { class: "proof", id: "proof", "data-state": stateOf(contract) },
    levels(stateOf(contract)),
    element("span", { class: "age", id: "record-age" }, ageText(contract)),
    element("span", { class: "absolute" }, contract.complete_as_of ? `${say("completeAs")} ${moment(contract.complete_as_of)}` : say("notYet")),
    element("span", {}, `${say("changedAt")} `, element("time", { datetime: one.time }, moment(one.time))),
    element("span", { title: one.source }, `${say("source")} ${inWords(contract.owner)}${node(one.source)}`),
  );
}

/** The node that told of it: a source is named /37/resident.v2. @param {string} source */
function node(source) {
  const found = /^\/([^/]+)\//.exec(source)?.[1];
  return found ? sayIn(`（${found}）`, ` (${found})`) : "";
}

/** @param {Contract} contract */
function ageText(contract) {
  const age = ageOf(contract);
  return age === null ? say("notYet") : words().completeAgo(span(age));
}

/**
 * @param {Contract} contract
 * @param {Entry} one
 */
function refusal(contract, one) {
  if (!one.refused) return [];
  const name = /^\$\.([A-Za-z_0-9]+)/.exec(one.refused.path)?.[1];
  const field = name ? fieldOf(contract, name) : undefined;
  return [
    element(
      "div",
      { class: "message refused" },
      element("p", { class: "first" }, say("refused"), field ? ` ${words().refusedWhere(inWords(field.title))}` : null),
      element("p", { class: "hint", lang: "en" }, `${one.refused.message} - at ${one.refused.path}`),
    ),
  ];
}

/**
 * @param {Contract} contract
 * @param {Field} field
 */
function row(contract, field) {
  const value = entry?.record[field.name];
  const cell = element("dd", {}, ...shown(field, value), ...was(field));
  if (before.has(field.name)) cell.className = "changed";
  if (field.name === contract.scope && typeof value === "string") void namePlace(cell, value);
  const text = told(field, value);
  const long = text.length > 36 || (field.shape?.max_length ?? 0) > 500;
  return element("div", { "data-field": field.name, class: long ? "long" : null }, element("dt", {}, inWords(field.title)), cell);
}

/** @param {Field | undefined} field */
function was(field) {
  if (!field || !before.has(field.name)) return [];
  return [
    element("span", { class: "was" }, `${say("was")} `, element("del", {}, told(field, before.get(field.name)))),
  ];
}

/**
 * Say which division a code is, where this window knows divisions.
 * @param {HTMLElement} cell
 * @param {string} code
 */
async function namePlace(cell, code) {
  if (!contractOf("division.v1") || entry?.contract === "division.v1") return;
  const name = places.get(code) ?? read(recordPath("division.v1", code)).then((one) => String(one.record.name ?? ""));
  places.set(code, name);
  try {
    const text = await name;
    if (text) {
      cell.prepend(element("span", { lang: "zh-CN" }, text));
      const number = cell.childNodes[1];
      if (number instanceof Text || (number instanceof HTMLElement && number.className === "group")) {
        const dim = element("span", { class: "code" }, number.textContent ?? "");
        number.replaceWith(dim);
      }
    }
  } catch {
    places.delete(code);
  }
}

function tick() {
  if (!entry || gone) return;
  const contract = contractOf(entry.contract);
  const line = document.getElementById("proof");
  const age = document.getElementById("record-age");
  if (!contract || !line || !age) return;
  write(age, ageText(contract));
  const state = model.line ? stateOf(contract) : "late";
  if (line.dataset.state !== state) {
    line.dataset.state = state;
    line.querySelector("svg")?.replaceWith(levels(state));
  }
  const absolute = line.querySelector(".absolute");
  if (absolute && contract.complete_as_of) write(absolute, `${say("completeAs")} ${moment(contract.complete_as_of)}`);
}

function printed() {
  const session = model.session;
  const machine = !session || session.kind === "machine";
  const who = `${model.office} ${machine ? say("machine") : session.name}`;
  const purpose = machine ? say("machinePurpose") : session.purpose;
  write(byId("printed", HTMLElement), words().printed(who, purpose, moment(now())));
}
