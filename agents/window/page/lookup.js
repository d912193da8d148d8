// Looking a record up, by its number or by another field.

import { Problem, read, recordPath } from "./api.js";
import { announce, byId, element, write } from "./dom.js";
import { brief, inWords, number } from "./format.js";
import { contractOf, fieldOf, model, on } from "./model.js";
import { headlineOf, hide, show, shownRecord } from "./record.js";
import { say, sayIn, sayProblem, words } from "./words.js";

/** @import { Contract, Entry, Field } from "./model.js" */

const PAGE = 50;

/** @type {{contract: string, field: string, value: string, entries: Entry[], next: string | null} | null} */
let found = null;
/** @type {(() => void) | null} Says again what was said, in another language. */
let said = null;
/** Tells the answer that is waited for from one that comes too late. */
let asked = 0;
let drawn = "";

const select = () => byId("contract", HTMLSelectElement);
const by = () => byId("by", HTMLSelectElement);
const input = () => byId("key", HTMLInputElement);

export function begin() {
  byId("form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const contract = contractOf(select().value);
    const value = contract && tidy(contract, by().value, input().value);
    if (!contract || !value) {
      input().focus();
      return;
    }
    input().value = value;
    if (by().value === contract.key) void lookUp(contract.name, value);
    else void search(contract.name, by().value, value);
  });
  select().addEventListener("change", () => chooseBy(true));
  by().addEventListener("change", titleKey);
  byId("results-more", HTMLButtonElement).addEventListener("click", () => void searchMore());
  on("contracts", choose);
  on("language", () => {
    drawn = "";
    choose();
    said?.();
    if (found && !byId("results", HTMLElement).hidden) drawResults();
  });
  on("gap", () => void again());
}

/** What is shown is read once more: changes to it may have gone by. */
async function again() {
  const now = shownRecord();
  if (now) await lookUp(now.contract, now.key, true);
}

/** Fill the choice of contracts anew where something of it is different. */
function choose() {
  const now = model.contracts.map((one) => inWords(one.title) + one.name + (one.searchable ?? "") + one.fields.length).join();
  if (now === drawn) return;
  drawn = now;
  drawHere();
  const before = select().value || "resident.v2";
  select().replaceChildren(
    ...model.contracts.map((one) => element("option", { value: one.name }, inWords(one.title))),
  );
  if (contractOf(before)) select().value = before;
  chooseBy(false);
}

/** Before anything is looked up: what there is, and by what it is found. */
function drawHere() {
  byId("here", HTMLElement).replaceChildren(
    ...model.contracts.map((one) => {
      const names = [one.key, ...(one.searchable ?? [])].map((name) => fieldOf(one, name)).filter((field) => field !== undefined);
      const button = element(
        "button",
        { type: "button", class: "result" },
        element("b", {}, inWords(one.title)),
        element("span", { class: "num" }, words().count(number(one.records))),
        element("span", { class: "soft" }, `${words().byThese(names.map((field) => inWords(field.title)).join(sayIn("、", ", ")))}　${inWords(one.owner)}`),
      );
      button.addEventListener("click", () => {
        select().value = one.name;
        chooseBy(true);
        input().focus();
      });
      return element("li", {}, button);
    }),
  );
}

/** @param {boolean} anew */
function chooseBy(anew) {
  const contract = contractOf(select().value);
  if (!contract) return;
  const before = by().value;
  const names = [contract.key, ...(contract.searchable ?? [])].filter((name) => fieldOf(contract, name));
  by().replaceChildren(
    ...names.map((name) => element("option", { value: name }, inWords(/** @type {Field} */ (fieldOf(contract, name)).title))),
  );
  if (!anew && names.includes(before)) by().value = before;
  byId("by-line", HTMLElement).hidden = names.length < 2;
  titleKey();
}

function titleKey() {
  const contract = contractOf(select().value);
  const field = contract && fieldOf(contract, by().value);
  if (field) write(byId("key-title", HTMLElement), inWords(field.title));
}

/**
 * What was typed or scanned, as the register writes it: no spaces in numbers, no full-width digits.
 * @param {Contract} contract
 * @param {string} name
 * @param {string} typed
 */
function tidy(contract, name, typed) {
  const value = typed.normalize("NFKC").trim();
  const shape = fieldOf(contract, name)?.shape;
  if (name !== contract.key && !shape?.pattern) return value;
  const number = value.replace(/[\s-]/gu, "");
  return shape?.pattern && !/a-z/.test(shape.pattern) ? number.toUpperCase() : value.replace(/\s/gu, "");
}

/**
 * @param {string} contract
 * @param {string} key
 * @param {boolean} [quiet] it is only read again
 */
export async function lookUp(contract, key, quiet = false) {
  const mine = ++asked;
  if (!quiet) wait();
  try {
    const entry = /** @type {Entry} */ (await read(recordPath(contract, key)));
    if (mine !== asked) return;
    clear();
    show(entry, found?.contract === contract && found.entries.some((one) => one.key === key) ? backToResults : null);
    const one = contractOf(contract);
    if (!quiet && one) announce(words().found(headlineOf(one, entry)));
  } catch (error) {
    if (mine !== asked) return;
    const problem = error instanceof Problem ? error : new Problem(500, String(error));
    if (quiet && problem.status !== 404) return;
    if (problem.status !== 404) tell(() => sayProblem(problem.status), () => problem.detail);
    else if (/refused/.test(problem.detail)) tell(() => words().none(key), () => problem.detail, "noneRefused");
    else tell(() => words().none(key), () => "", "noneHint");
  }
}

/**
 * @param {string} contract
 * @param {string} field
 * @param {string} value
 */
async function search(contract, field, value) {
  const mine = ++asked;
  wait();
  try {
    const page = await read(searchPath(contract, field, value, null));
    if (mine !== asked) return;
    found = { contract, field, value, entries: page.records, next: page.next };
    const only = page.records.length === 1 && !page.next ? page.records[0] : null;
    if (only) {
      found = null;
      await lookUp(contract, only.key);
    } else if (page.records.length === 0) {
      found = null;
      tell(() => words().noneBy(titleOf(contract, field), value), () => "", "noneHint");
    } else {
      backToResults();
    }
  } catch (error) {
    if (mine !== asked) return;
    const problem = error instanceof Problem ? error : new Problem(500, String(error));
    tell(() => sayProblem(problem.status), () => problem.detail);
  }
}

async function searchMore() {
  const now = found;
  if (!now?.next) return;
  try {
    const page = await read(searchPath(now.contract, now.field, now.value, now.next));
    if (found !== now) return;
    const at = now.entries.length;
    now.entries.push(...page.records);
    now.next = page.next;
    drawResults();
    const next = byId("results-list", HTMLElement).querySelectorAll("button")[at];
    next?.focus();
  } catch (error) {
    announce(sayProblem(error instanceof Problem ? error.status : 500));
  }
}

/**
 * @param {string} contract
 * @param {string} field
 * @param {string} value
 * @param {string | null} after
 */
function searchPath(contract, field, value, after) {
  const query = new URLSearchParams({ field, value, limit: String(PAGE) });
  if (after) query.set("after", after);
  return `v1/${encodeURIComponent(contract)}/records?${query}`;
}

/** @param {string} contract @param {string} field */
function titleOf(contract, field) {
  const one = contractOf(contract);
  const found = one && fieldOf(one, field);
  return found ? inWords(found.title) : field;
}

function backToResults() {
  clear();
  hide();
  drawResults();
  byId("results", HTMLElement).hidden = false;
  byId("results-title", HTMLElement).focus();
}

function drawResults() {
  const now = found;
  const contract = now && contractOf(now.contract);
  if (!now || !contract) return;
  const title = titleOf(now.contract, now.field);
  const count = number(now.entries.length);
  write(byId("results-title", HTMLElement), words()[now.next ? "severalMore" : "several"](count, title, now.value));
  const beside = contract.fields.filter((one) => ![contract.key, contract.scope, now.field].includes(one.name));
  byId("results-list", HTMLElement).replaceChildren(
    ...now.entries.map((entry) => {
      const facts = beside
        .filter((one) => entry.record[one.name] !== headlineOf(contract, entry) && entry.record[one.name] !== null)
        .slice(0, 4)
        .map((one) => brief(one, entry.record[one.name]));
      const button = element(
        "button",
        { type: "button", class: "result" },
        element("b", {}, headlineOf(contract, entry)),
        element("span", { class: "num" }, entry.key),
        element("span", { class: "soft" }, facts.join("　")),
      );
      button.addEventListener("click", () => void lookUp(entry.contract, entry.key));
      return element("li", {}, button);
    }),
  );
  byId("results-more", HTMLElement).hidden = now.next === null;
}

function wait() {
  byId("hint", HTMLElement).hidden = true;
  byId("answer", HTMLElement).setAttribute("aria-busy", "true");
}

function clear() {
  said = null;
  byId("answer", HTMLElement).removeAttribute("aria-busy");
  byId("hint", HTMLElement).hidden = true;
  byId("message", HTMLElement).hidden = true;
  byId("results", HTMLElement).hidden = true;
}

/**
 * Say something instead of a record.
 * @param {() => string} first
 * @param {() => string} detail
 * @param {import("./words.js").Word} [more]
 */
function tell(first, detail, more) {
  clear();
  hide();
  const draw = () => {
    const message = byId("message", HTMLElement);
    const technical = detail();
    message.replaceChildren(
      element("p", { class: "first" }, first()),
      ...(more ? [element("p", { class: "hint" }, say(more))] : []),
      ...(technical ? [element("p", { class: "hint", lang: "en" }, technical)] : []),
    );
    message.hidden = false;
  };
  said = draw;
  draw();
  announce(first());
}

/** Show a record from elsewhere on the page. @param {string} contract @param {string} key */
export function open(contract, key) {
  if (contractOf(contract)) {
    select().value = contract;
    chooseBy(true);
    input().value = key;
  }
  return lookUp(contract, key);
}
