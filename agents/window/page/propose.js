// The form on which a clerk says what is wrong and what it should be.

import { Problem, read, recordPath } from "./api.js";
import { announce, byId, element, write } from "./dom.js";
import { inWords, shown, told } from "./format.js";
import { fieldOf, on } from "./model.js";
import { faultOf } from "./shape.js";
import { say, sayProblem, words } from "./words.js";

/** @import { Contract, Correction, Entry, Field } from "./model.js" */

const COMPOSED = new Set(["array", "map", "object"]);

/** @type {Contract | null} */
let contract = null;
/** The record as it was when the form was opened: what the clerk saw. @type {Entry | null} */
let entry = null;
let sending = false;
/** What was sent last, and under which number: sent again, it is not filed twice. */
let sent = { body: "", number: "" };
/** @type {(filed: Correction) => void} */
let tell = () => {};

const dialog = () => byId("propose", HTMLDialogElement);
const choice = () => byId("propose-field", HTMLSelectElement);
const evidence = () => byId("propose-evidence", HTMLTextAreaElement);
const empty = () => byId("propose-empty", HTMLInputElement);
const field = () => (contract ? fieldOf(contract, choice().value) : undefined);
/** @returns {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} */
const input = () => /** @type {any} */ (document.getElementById("propose-value"));

/** @param {(filed: Correction) => void} filed is told what was filed */
export function begin(filed) {
  tell = filed;
  choice().addEventListener("change", () => {
    drawField();
    fault("propose-field", "");
  });
  empty().addEventListener("change", () => {
    input().disabled = empty().checked;
    fault("propose-value", "");
  });
  byId("propose-cancel", HTMLButtonElement).addEventListener("click", () => dialog().close());
  byId("propose-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    void send();
  });
  on("language", () => {
    if (!dialog().open) return;
    const value = input().value;
    drawChoice();
    drawField();
    input().value = value;
  });
}

/**
 * @param {Contract} of
 * @param {Entry} seen
 */
export function open(of, seen) {
  contract = of;
  entry = seen;
  choice().replaceChildren();
  evidence().value = "";
  for (const name of ["propose-field", "propose-value", "propose-evidence"]) fault(name, "");
  message("", "");
  drawChoice();
  drawField();
  dialog().showModal();
  choice().focus();
}

function drawChoice() {
  if (!contract || !entry) return;
  const before = choice().value;
  const open = contract.fields.filter((one) => !COMPOSED.has(one.shape?.type ?? "string"));
  choice().replaceChildren(
    element("option", { value: "" }, say("choose")),
    ...open.map((one) => element("option", { value: one.name }, inWords(one.title))),
  );
  choice().value = before;
  write(byId("propose-field-note", HTMLElement), open.length < contract.fields.length ? say("composed") : "");
  write(byId("propose-about", HTMLElement), `${inWords(contract.title)}　${entry.key}`);
}

function drawField() {
  const one = field();
  const seen = byId("propose-seen", HTMLElement);
  seen.replaceChildren(...(one && entry ? shown(one, entry.record[one.name]) : ["—"]));
  byId("propose-place", HTMLElement).replaceChildren(control(one));
  byId("propose-empty-line", HTMLElement).hidden = !one?.shape?.nullable;
  empty().checked = false;
  fault("propose-value", "");
}

/**
 * Where the value is given, of the kind the contract asks for.
 * @param {Field | undefined} one
 */
function control(one) {
  const named = { id: "propose-value", "aria-describedby": "propose-value-error", autocomplete: "off" };
  const shape = one?.shape;
  if (!one) return element("input", { ...named, type: "text", disabled: true });
  const codes = shape?.values ?? Object.keys(one.labels);
  if (shape?.type === "enum" || codes.length) {
    return element(
      "select",
      named,
      element("option", { value: "" }, say("choose")),
      ...codes.map((code) => element("option", { value: code }, told(one, code))),
    );
  }
  if (shape?.type === "boolean") {
    return element(
      "select",
      named,
      element("option", { value: "" }, say("choose")),
      element("option", { value: "true" }, say("yes")),
      element("option", { value: "false" }, say("no")),
    );
  }
  if (shape?.type === "date") return element("input", { ...named, type: "date", min: "0001-01-01", max: "9999-12-31" });
  if (shape?.type === "datetime") return element("input", { ...named, type: "datetime-local", step: 1 });
  if (shape?.type === "integer" || shape?.type === "number" || shape?.type === "decimal") {
    return element("input", { ...named, type: "text", inputmode: "decimal", maxlength: 40 });
  }
  if ((shape?.max_length ?? 0) > 200) return element("textarea", { ...named, rows: 3 });
  return element("input", { ...named, type: "text", spellcheck: "false" });
}

async function send() {
  if (sending || !contract || !entry) return;
  const one = field();
  const value = one && !empty().checked ? input().value.trim() : "";
  const found = one ? faultOf(one, value, empty().checked, entry.record[one.name]) : { value: null, fault: "" };
  fault("propose-field", one ? "" : say("needField"));
  fault("propose-value", one ? found.fault : "");
  fault("propose-evidence", evidence().value.trim() ? "" : say("needEvidence"));
  const wrong = ["propose-field", "propose-value", "propose-evidence"].find((name) => byId(`${name}-error`, HTMLElement).textContent);
  if (!one || wrong) {
    document.getElementById(wrong ?? "propose-field")?.focus();
    return;
  }
  sending = true;
  busy(true);
  message("", "");
  const body = {
    field: one.name,
    seen: entry.record[one.name] ?? null,
    proposed: found.value,
    evidence: evidence().value.trim(),
  };
  const path = `${recordPath(contract.name, entry.key)}/corrections`;
  try {
    const filed = await read(path, { method: "POST", body, headers: { "Idempotency-Key": numberOf(path, body) } });
    sent = { body: "", number: "" };
    dialog().close();
    document.getElementById("record-wrong")?.focus();
    announce(words().submitted(inWords(one.title)));
    tell(filed);
  } catch (error) {
    const problem = error instanceof Problem ? error : new Problem(500, String(error));
    const status = problem.status === 400 ? 422 : problem.status;
    message(sayProblem(status), problem.detail);
  } finally {
    sending = false;
    busy(false);
  }
}

/**
 * @param {string} path
 * @param {object} body
 */
function numberOf(path, body) {
  const said = path + JSON.stringify(body);
  if (sent.body !== said) {
    const random = crypto.getRandomValues(new Uint32Array(4));
    sent = { body: said, number: Array.from(random, (part) => part.toString(16).padStart(8, "0")).join("") };
  }
  return sent.number;
}

/** @param {boolean} now */
function busy(now) {
  const button = byId("propose-send", HTMLButtonElement);
  button.setAttribute("aria-disabled", String(now));
  write(button, say(now ? "submitting" : "submit"));
}

/**
 * Say beside a part of the form what is wrong with it; nothing when it is right.
 * @param {string} name
 * @param {string} text
 */
function fault(name, text) {
  write(byId(`${name}-error`, HTMLElement), text);
  const part = document.getElementById(name);
  if (text) part?.setAttribute("aria-invalid", "true");
  else part?.removeAttribute("aria-invalid");
}

/**
 * @param {string} text
 * @param {string} detail
 */
function message(text, detail) {
  const place = byId("propose-message", HTMLElement);
  place.hidden = !text;
  place.replaceChildren(
    ...(text ? [element("p", { class: "first" }, text)] : []),
    ...(detail ? [element("p", { class: "hint", lang: "en" }, detail)] : []),
  );
}
