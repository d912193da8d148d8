// The line to the window: every change as it comes, and whether the line is up.

import { read } from "./api.js";
import { announce } from "./dom.js";
import { contractOf, emit, model } from "./model.js";
import { say } from "./words.js";

/** Milliseconds without a sign after which the line counts as lost: a heartbeat comes each second. */
const SILENT = 2500;
/** Milliseconds between two looks at the list of contracts. */
const LOOK = 4000;

/** @type {EventSource | null} */
let source = null;
/** What the source follows. */
let names = "";
/** Where to go on; empty for wherever the window is now. */
let token = "";
let sign = performance.now();
let opened = 0;
let looking = false;
let looked = 0;

/** Follow the window from here on. */
export function begin() {
  void look();
  setInterval(watch, 250);
}

function watch() {
  const at = performance.now();
  const silent = at - sign > SILENT;
  if (silent && model.line) {
    model.line = false;
    model.lost = sign;
    announce(say("lineLost"));
    emit("line", undefined);
  }
  // A source that neither speaks nor fails is given up.
  if (source && silent && at - opened > 2 * SILENT) close();
  if (at - looked > (source && !silent ? LOOK : 1000)) void look();
  emit("tick", undefined);
}

function alive() {
  sign = performance.now();
  if (!model.line) {
    model.line = true;
    announce(say("lineBack"));
    emit("line", undefined);
  }
}

/** Read what is here, and open the feed where it is not. */
async function look() {
  if (looking) return;
  looking = true;
  try {
    const asked = Date.now();
    const body = await read("v1/contracts");
    const answered = Date.now();
    model.office = body.name;
    model.contracts = body.contracts;
    setClock(asked, answered);
    const wanted = model.contracts.map((one) => one.name).join();
    if (wanted !== names) close();
    if (!source && wanted) open(wanted, body.token);
    if (!wanted) alive();
    emit("contracts", undefined);
  } catch {
    // Nobody answers: watch() says so once the line has been silent for long enough.
  } finally {
    looking = false;
    looked = performance.now();
  }
}

/**
 * This machine's clock may be wrong: the window's counts. What lies within the time the answer took
 * cannot be told from a right clock.
 * @param {number} asked
 * @param {number} answered
 */
function setClock(asked, answered) {
  const timed = model.contracts.find((one) => one.age_s !== null && one.complete_as_of);
  const took = answered - asked;
  if (!timed || took > 1000) return;
  const there = Date.parse(String(timed.complete_as_of)) + Number(timed.age_s) * 1000;
  const skew = there - (asked + answered) / 2;
  if (Math.abs(skew) <= took / 2 + 100) model.skew = 0;
  else if (Math.abs(skew - model.skew) > took / 2 + 100) model.skew = skew;
}

function close() {
  source?.close();
  source = null;
}

/**
 * @param {string} wanted
 * @param {string} present where the feed is now
 */
function open(wanted, present) {
  const resumes = token !== "";
  if (!resumes) token = present;
  names = wanted;
  opened = performance.now();
  const query = new URLSearchParams({ contracts: wanted, from: "now", last_event_id: token });
  const mine = new EventSource(`v1/events?${query}`);
  source = mine;
  let spoke = false;
  mine.addEventListener("open", () => {
    spoke = true;
    alive();
  });
  mine.addEventListener("change", (event) => {
    alive();
    if (event.lastEventId) token = event.lastEventId;
    emit("change", JSON.parse(event.data));
  });
  mine.addEventListener("watermark", (event) => {
    alive();
    const mark = JSON.parse(event.data);
    const contract = contractOf(mark.contract);
    if (contract) {
      const turned = contract.state !== mark.state;
      contract.complete_as_of = mark.complete_as_of;
      contract.state = mark.state;
      if (turned) looked = 0; // why, is in the list of contracts
    }
    emit("watermark", mark);
  });
  mine.addEventListener("cut", () => begun(mine, true));
  mine.addEventListener("error", () => {
    // A refusal ends it for good: the token is of another store, or too old.
    const refused = !spoke && mine.readyState === EventSource.CLOSED;
    begun(mine, refused && resumes);
  });
}

/**
 * Let this source go and open another soon, from the present where `gap` says that the past is lost.
 * @param {EventSource} mine
 * @param {boolean} gap
 */
function begun(mine, gap) {
  if (source !== mine) return;
  close();
  looked = performance.now() - 500;
  if (gap) {
    token = "";
    emit("gap", undefined);
  }
}
