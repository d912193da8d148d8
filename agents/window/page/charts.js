// How fresh and how complete each contract was over the last hour, what that means, and what to do.

import { read } from "./api.js";
import { byId, drawn, element, levels, write } from "./dom.js";
import { clock, day, inWords, length, number, span } from "./format.js";
import { ageOf, model, on, stateOf } from "./model.js";
import { view } from "./views.js";
import { say, words } from "./words.js";

/** @import { Contract } from "./model.js" */
/** @import { Word } from "./words.js" */
/** @typedef {{age_s: (number | null)[], events: number[], states: [string | null, number][]}} Series */

/** @type {{step_s: number, until: string, contracts: Record<string, Series>} | null} */
let hour = null;
let readAt = -1e9;
let reading = false;
let failed = false;
/** What was drawn of each contract, so that only what differs is drawn again. @type {Map<string, string>} */
const drawnAs = new Map();

// One scale for all: from a tenth of a second to an hour, each step ten times the one before.
const WIDE = 720;
const HIGH = 96;
const LEAST = Math.log10(0.1);
const MOST = Math.log10(3600);
const TICKS = [1, 10, 60, 600];

export function begin() {
  on("contracts", draw);
  on("language", () => {
    drawnAs.clear();
    draw();
  });
  on("tick", () => {
    if (view() !== "state") return;
    if (!reading && model.line && performance.now() - readAt > 10_000) void look();
    ages();
  });
  addEventListener("hashchange", draw);
}

async function look() {
  reading = true;
  try {
    hour = await read("v1/freshness");
    failed = false;
  } catch {
    failed = true;
  } finally {
    reading = false;
    readAt = performance.now();
  }
  draw();
}

function draw() {
  byId("no-contracts", HTMLElement).hidden = model.contracts.length > 0;
  const list = byId("contracts", HTMLElement);
  const names = new Set(model.contracts.map((one) => one.name));
  for (const item of /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll(":scope > li"))) {
    if (!names.has(item.dataset.contract ?? "")) item.remove();
  }
  model.contracts.forEach((one, at) => {
    let item = /** @type {HTMLElement | null} */ (list.querySelector(`:scope > li[data-contract="${CSS.escape(one.name)}"]`));
    if (!item) {
      item = element("li", { "data-contract": one.name });
      drawnAs.delete(one.name);
    }
    if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null);
    fill(item, one);
  });
  ages();
}

/**
 * @param {HTMLElement} item
 * @param {Contract} one
 */
function fill(item, one) {
  const series = hour?.contracts[one.name];
  item.dataset.state = stateOf(one);
  const as = JSON.stringify([one.state, stateOf(one), one.error, one.records, one.latency_ms, one.refused, one.signed, one.sunset, hour?.until, failed]);
  if (drawnAs.get(one.name) === as) return;
  const open = item.querySelector("details")?.open ?? false;
  const focused = item.querySelector("summary") === document.activeElement;
  drawnAs.set(one.name, as);
  item.replaceChildren(
    element(
      "div",
      { class: "name" },
      element("h3", {}, inWords(one.title)),
      element("p", { class: "soft" }, `${one.name} ${one.revision}`),
    ),
    element(
      "div",
      { class: "now" },
      element("p", { class: "word" }, levels(stateOf(one)), stateWord(one)),
      element("p", { class: "age" }),
    ),
    facts(one),
    series ? chart(one, series, hour?.step_s ?? 10, open) : element("p", { class: "hint plot" }, failed ? say("noCharts") : ""),
    element("div", { class: "doing" }, ...todo(one)),
  );
  if (focused) item.querySelector("summary")?.focus();
}

/** @param {Contract} one */
function stateWord(one) {
  if (one.state === "retrying") return say("stateRetrying");
  return say(/** @type {Word} */ ({ good: "stateGood", late: "stateLate", bad: "stateBad", wait: "stateWait" }[stateOf(one)]));
}

function ages() {
  for (const one of model.contracts) {
    const item = byId("contracts", HTMLElement).querySelector(`:scope > li[data-contract="${CSS.escape(one.name)}"]`);
    if (!(item instanceof HTMLElement)) continue;
    fill(item, one); // a state turns between two looks at the list, too
    const age = ageOf(one);
    const text = age === null ? say("notYet") : words().completeAgo(span(age));
    const place = item.querySelector(".age");
    if (place) write(place, text);
  }
}

/** @param {Contract} one */
function facts(one) {
  /** @type {[string, string][]} */
  const rows = [
    [say("records"), number(one.records)],
    [say("promise"), length(one.freshness_s)],
    [say("arrival"), one.latency_ms ? words().milliseconds(Math.round(one.latency_ms.p50)) : "—"],
    [say("owner"), inWords(one.owner)],
  ];
  if (one.signed) rows.push([say("signed"), words().signedBy(one.signed.state, one.signed.by)]);
  if (one.refused) rows.push([say("unshown"), number(one.refused)]);
  if (one.sunset) rows.push([say("sunset"), day(one.sunset)]);
  return element("dl", { class: "facts" }, ...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** @param {Contract} one */
function todo(one) {
  const parts = [];
  const state = stateOf(one);
  if (one.state === "stopped" && one.signed?.state === "stopped") {
    parts.push(element("p", {}, say("doUnproven"), " ", element("code", {}, "levelsync status NODE.toml")));
  } else if (one.state === "stopped") {
    parts.push(
      element("p", {}, say("doStopped"), " ", element("code", {}, "levelsync status NODE.toml")),
      element("p", {}, say("doStoppedMore"), " ", element("code", {}, `levelsync resync NODE.toml ${one.name}`)),
    );
  } else if (one.state === "retrying") {
    parts.push(element("p", {}, say("doRetrying")));
  } else if (state === "late") {
    parts.push(element("p", {}, say("doLate")));
  } else if (state === "wait") {
    parts.push(element("p", {}, say("doWait")));
  }
  if (one.refused) parts.push(element("p", {}, say("doRefused")));
  if (one.error) parts.push(element("p", { class: "hint", lang: "en" }, one.error));
  return parts;
}

/** Where an age stands on the scale. @param {number} age */
function height(age) {
  const at = (Math.log10(Math.max(age, 0.1)) - LEAST) / (MOST - LEAST);
  return HIGH - 2 - (HIGH - 6) * Math.min(1, at);
}

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;

/**
 * @param {Contract} one
 * @param {Series} series
 * @param {number} step
 * @param {boolean} open are the figures shown too?
 */
function chart(one, series, step, open) {
  const each = WIDE / (3600 / step);
  const start = WIDE - series.age_s.length * each;
  const svg = drawn("svg", {
    class: "chart",
    viewBox: `0 0 ${WIDE} ${HIGH}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": inShort(one, series, step),
  });
  for (const tick of TICKS) svg.append(line("tick", height(tick)));
  for (let at = 1; at < 6; at++) {
    const x = (WIDE / 6) * at;
    svg.append(drawn("line", { class: "tick", x1: x, x2: x, y1: 0, y2: HIGH }));
  }
  bands(svg, series, start, each);
  let path = "";
  let pen = false;
  series.age_s.forEach((age, at) => {
    if (age === null) {
      pen = false;
      return;
    }
    path += `${pen ? "L" : "M"}${round(start + (at + 0.5) * each)} ${round(height(age))}`;
    if (!pen) path += "h0.1";
    pen = true;
  });
  svg.append(line("promise", height(one.freshness_s)));
  const promised = element("span", { class: "promised", "aria-hidden": "true" }, `${say("promise")} ${length(one.freshness_s)}`);
  promised.style.top = `${round(height(one.freshness_s))}px`;
  if (path) svg.append(drawn("path", { class: "line", d: path }));
  return element(
    "div",
    { class: "plot" },
    element("div", { class: "scale", "aria-hidden": "true" }, ...[...TICKS].reverse().map(label)),
    element("div", { class: "over" }, svg, promised, ...captions(series, start, each)),
    busy(series, start, each),
    element("div", { class: "when", "aria-hidden": "true" }, ...[60, 50, 40, 30, 20, 10, 0].map(minute)),
    figures(series, step, open),
  );
}

/** @param {number} tick */
function label(tick) {
  const made = element("span", {}, length(tick));
  made.style.top = `${round((height(tick) / HIGH) * 100)}%`;
  return made;
}

/** @param {number} minutes ago */
function minute(minutes) {
  const made = element("span", {}, minutes === 60 ? `60 ${say("minutesAgo")}` : minutes ? String(minutes) : say("chartNow"));
  made.style.left = `${round((1 - minutes / 60) * 100)}%`;
  return made;
}

/**
 * What a band is, written into it where there is room.
 * @param {Series} series
 * @param {number} start
 * @param {number} each
 */
function captions(series, start, each) {
  let left = 0;
  /** @type {[string | null, number][]} */
  const states = [[null, start / each], ...series.states];
  return states.flatMap(([state, count]) => {
    const from = left;
    left += count * each;
    const kind = kindOf(state);
    if (!kind || count * each < WIDE / 20) return [];
    const word = /** @type {const} */ ({ stopped: "bandStopped", away: "bandAway", unknown: "bandUnknown" })[kind];
    const made = element("span", { class: `caption ${kind}`, "aria-hidden": "true" }, say(word));
    made.style.left = `${round((from / WIDE) * 100)}%`;
    return [made];
  });
}

/** @param {string | null} state @returns {"stopped" | "away" | "unknown" | ""} */
function kindOf(state) {
  if (state === null) return "unknown";
  if (state === "running" || state === "ended") return "";
  return state === "stopped" ? "stopped" : "away";
}

/** @param {string} kind @param {number} y */
const line = (kind, y) => drawn("line", { class: kind, x1: 0, x2: WIDE, y1: round(y), y2: round(y) });

/**
 * Where it did not run, or nobody knows: over the whole height, so that it cannot be overlooked.
 * @param {Element} svg
 * @param {Series} series
 * @param {number} start
 * @param {number} each
 */
function bands(svg, series, start, each) {
  let at = 0;
  for (const [state, count] of series.states) {
    const kind = kindOf(state);
    if (kind) {
      const x = round(start + at * each);
      const width = round(Math.max(count * each, 2));
      svg.append(drawn("rect", { class: `band ${kind}`, x, y: 0, width, height: HIGH }));
      // Strokes too, for those who do not see the colour.
      for (let stripe = x; stripe < x + width - 1; stripe += 6) {
        svg.append(drawn("line", { class: `stripe ${kind}`, x1: round(stripe), x2: round(Math.min(stripe + 6, x + width)), y1: HIGH, y2: 0 }));
      }
    }
    at += count;
  }
  if (start > 0) svg.append(drawn("rect", { class: "band before", x: 0, y: 0, width: round(start), height: HIGH }));
}

/**
 * How many changes came, beneath the ages.
 * @param {Series} series
 * @param {number} start
 * @param {number} each
 */
function busy(series, start, each) {
  const most = Math.max(1, ...series.events);
  const svg = drawn("svg", { class: "busy", viewBox: `0 0 ${WIDE} 14`, preserveAspectRatio: "none", "aria-hidden": "true" });
  let path = "";
  series.events.forEach((count, at) => {
    if (!count) return;
    // Small numbers are seen beside large ones.
    const tall = round(2 + 12 * (Math.log1p(count) / Math.log1p(most)));
    path += `M${round(start + (at + 0.5) * each)} 14v-${tall}`;
  });
  if (path) svg.append(drawn("path", { d: path }));
  return svg;
}

/** @param {Series} series @param {(state: string | null) => boolean} which */
const samples = (series, which) => series.states.reduce((sum, [state, count]) => sum + (which(state) ? count : 0), 0);

/**
 * The chart in words.
 * @param {Contract} one
 * @param {Series} series
 * @param {number} step
 */
function inShort(one, series, step) {
  const known = /** @type {number[]} */ (series.age_s.filter((age) => age !== null));
  const parts = [words().chart(inWords(one.title), known.length ? span(Math.max(...known)) : say("unknown"), length(one.freshness_s))];
  const late = known.filter((age) => age > one.freshness_s).length;
  parts.push(late ? words().chartLate(length(late * step)) : say("chartKept"));
  const down = samples(series, (state) => state === "stopped" || state === "retrying");
  if (down) parts.push(words().chartDown(length(down * step)));
  const unknown = samples(series, (state) => state === null);
  if (unknown) parts.push(words().chartUnknown(length(unknown * step)));
  return parts.join(" ");
}

/**
 * The chart as a table of five minutes each.
 * @param {Series} series
 * @param {number} step
 * @param {boolean} open
 */
function figures(series, step, open) {
  const until = Date.parse(hour?.until ?? "");
  const size = 300 / step;
  /** @type {(string | null)[]} */
  const states = series.states.flatMap(([state, count]) => Array(count).fill(state));
  const rows = [];
  for (let end = series.age_s.length; end > 0; end -= size) {
    const begin = Math.max(0, end - size);
    const ages = /** @type {number[]} */ (series.age_s.slice(begin, end).filter((age) => age !== null));
    const events = series.events.slice(begin, end).reduce((a, b) => a + b, 0);
    const ill = states.slice(begin, end).find((state) => state !== "running" && state !== "ended");
    const from = until - (series.age_s.length - begin) * step * 1000;
    const cells = [clock(from), ages.length ? span(Math.max(...ages)) : "—", number(events), wordOf(ill)];
    rows.push(element("tr", {}, ...cells.map((cell, at) => element(at ? "td" : "th", at ? {} : { scope: "row" }, cell))));
  }
  const heads = /** @type {const} */ (["from", "worst", "happened", "during"]);
  return element(
    "details",
    { open },
    element("summary", {}, say("figures")),
    element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((word) => element("th", { scope: "col" }, say(word))))), element("tbody", {}, ...rows)),
  );
}

/** @param {string | null | undefined} state */
function wordOf(state) {
  if (state === undefined) return say("stateGood");
  if (state === null) return say("unknown");
  return say(state === "stopped" ? "stateBad" : state === "retrying" ? "stateRetrying" : "stateWait");
}
