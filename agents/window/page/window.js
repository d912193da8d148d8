"use strict";

// The words of the page in both languages; everything else comes from the contracts themselves.
const WORDS = {
  zh: {
    title: "数据窗口", tagline: "上级数据，实时到窗", skip: "跳到查询", contracts: "数据目录",
    lookup: "查询", contract: "数据", find: "查询", changes: "实时变更", pause: "暂停", resume: "继续",
    hint: "输入号码查询。查到的记录有变化时，会在此自动更新。",
    quiet: "暂无变更。有变更时会立即出现在这里。",
    good: "数据完整、及时", late: "数据有延迟", bad: "数据可能不完整", wait: "正在连接…",
    away: "窗口服务没有回应，正在重新连接", asOf: "秒前完整", notYet: "尚未完整",
    records: n => `${n} 条`, promise: s => `承诺 ${s} 秒`, arrival: ms => `到窗 ${ms} 毫秒`,
    none: k => `没有号码为 ${k} 的记录。`, put: "更新", delete: "删除", gone: "此记录已被删除。",
    source: "来源", changed: "变更时间", complete: "数据完整截至", revision: "合同版本", empty: "（空）",
    state: "状态", error: "出错了：",
    refused: why => `最近一次变更不符合合同，未予显示，以下是此前的内容。（${why}）`,
    unshown: n => `${n} 条变更不符合合同，未予显示`, sunset: day => `此版本提供至 ${day}`,
  },
  en: {
    title: "Data window", tagline: "What the levels above know, now", skip: "Skip to look-up",
    contracts: "Data here", lookup: "Look-up", contract: "Data", find: "Look up",
    changes: "Live changes", pause: "Pause", resume: "Go on",
    hint: "Enter a number. A record found here updates itself when it changes.",
    quiet: "No changes yet. They appear here the moment they happen.",
    good: "Complete and fresh", late: "Data is late", bad: "Data may be incomplete",
    wait: "Connecting…", away: "The window does not answer; trying again",
    asOf: "s ago, complete", notYet: "not complete yet",
    records: n => `${n} records`, promise: s => `promised ${s} s`, arrival: ms => `${ms} ms to here`,
    none: k => `There is no record with the number ${k}.`, put: "change", delete: "deleted",
    gone: "This record was deleted.", source: "Source", changed: "Changed", complete: "Complete as of",
    revision: "Contract", empty: "(empty)", state: "State", error: "That went wrong: ",
    refused: why => `The last change breaks the contract and is not shown; this is what was before. (${why})`,
    unshown: n => `${n} changes break the contract and are not shown`,
    sunset: day => `this version is filled until ${day}`,
  },
};

const MOST_CHANGES = 60;
const HISTORY = 120; // seconds of freshness kept for the small charts

const byId = id => document.getElementById(id);
let language = remembered() || (navigator.language.startsWith("zh") ? "zh" : "en");
let contracts = [];
let shown = null; // what was looked up: {contract, key, entry}
let paused = false;
let answering = true;
const history = new Map(); // contract → ages
let feed = null;

const say = word => WORDS[language][word];

function remembered() {
  try { return localStorage.getItem("language"); } catch { return null; }
}

function speak(to) {
  language = to;
  try { localStorage.setItem("language", to); } catch { /* a kiosk may forbid it */ }
  document.documentElement.lang = to === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === to));
  }
  byId("pause").textContent = say(paused ? "resume" : "pause");
  choose();
  draw();
  if (shown) drawAnswer();
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// ---- what is here, and how fresh -----------------------------------------------------------

async function refresh() {
  try {
    const answer = await fetch("v1/contracts", { cache: "no-store" });
    const body = await answer.json();
    const before = contracts.map(one => one.name).join();
    contracts = body.contracts;
    byId("node").textContent = body.name;
    answering = true;
    for (const one of contracts) {
      const ages = history.get(one.name) || [];
      ages.push(one.age_s);
      history.set(one.name, ages.slice(-HISTORY));
    }
    follow();
    if (before !== contracts.map(one => one.name).join()) choose();
  } catch {
    answering = false;
  }
  draw();
}

function stateOf(one) {
  if (one.state === "stopped") return "bad";
  if (one.age_s === null) return "wait";
  return one.age_s > one.freshness_s ? "late" : "good";
}

function draw() {
  const order = ["good", "wait", "late", "bad"];
  const worst = contracts.map(stateOf).reduce((a, b) => (order.indexOf(b) > order.indexOf(a) ? b : a), "good");
  const verdict = byId("verdict");
  const state = !answering ? "bad" : contracts.length ? worst : "wait";
  const text = answering ? say(state) : say("away");
  if (verdict.textContent !== text) verdict.textContent = text;
  verdict.dataset.state = state;
  byId("contracts").replaceChildren(...contracts.map(card));
  document.title = `${byId("node").textContent} · ${say("title")}`;
}

function card(one) {
  const item = element("li", null, { "data-state": stateOf(one), "data-contract": one.name });
  const title = element("h3", one.title[language]);
  title.append(element("code", one.name));
  const age = element("p", one.age_s === null ? "—" : one.age_s.toFixed(1), { class: "age" });
  age.append(" ", element("small", one.age_s === null ? say("notYet") : say("asOf")));
  const facts = element("p", null, { class: "facts" });
  facts.append(element("span", say("records")(one.records.toLocaleString())));
  facts.append(element("span", say("promise")(one.freshness_s)));
  if (one.latency_ms) facts.append(element("span", say("arrival")(Math.round(one.latency_ms.p50))));
  facts.append(element("span", one.owner[language]));
  if (one.sunset) facts.append(element("span", say("sunset")(one.sunset)));
  item.append(title, age, spark(one), facts);
  if (one.refused) item.append(element("p", say("unshown")(one.refused), { class: "trouble" }));
  if (one.error) item.append(element("p", one.error, { class: "trouble" }));
  return item;
}

function spark(one) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${HISTORY} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const ages = (history.get(one.name) || []).map(age => age ?? 0);
  const top = Math.max(one.freshness_s * 1.6, ...ages);
  const height = age => (23 - 22 * Math.min(age / top, 1)).toFixed(1);
  const promise = document.createElementNS(space, "line");
  for (const [name, value] of [["x1", 0], ["x2", HISTORY], ["y1", height(one.freshness_s)], ["y2", height(one.freshness_s)]]) {
    promise.setAttribute(name, value);
  }
  const line = document.createElementNS(space, "polyline");
  const start = HISTORY - ages.length;
  line.setAttribute("points", ages.map((age, at) => `${start + at},${height(age)}`).join(" "));
  svg.append(promise, line);
  return svg;
}

// ---- look-up -------------------------------------------------------------------------------

function choose() {
  const select = byId("contract");
  const before = select.value || "resident.v2";
  select.replaceChildren(...contracts.map(one => element("option", one.title[language], { value: one.name })));
  if (contracts.some(one => one.name === before)) select.value = before;
  titleKey();
}

function titleKey() {
  const one = contracts.find(other => other.name === byId("contract").value);
  const field = one && one.fields.find(other => other.name === one.key);
  if (field) byId("key-title").textContent = field.title[language];
}

async function lookUp(contract, key) {
  shown = { contract, key, entry: null, complete: null, changed: new Set(), problem: null };
  const asked = shown;
  try {
    const answer = await fetch(`v1/${contract}/records/${encodeURIComponent(key)}`, { cache: "no-store" });
    asked.complete = answer.headers.get("Complete-As-Of");
    if (answer.ok) asked.entry = await answer.json();
    else if (answer.status !== 404) asked.problem = (await answer.json()).detail;
  } catch (error) {
    asked.problem = String(error.message || error);
  }
  if (shown === asked) drawAnswer();
}

function drawAnswer() {
  const { contract, key, entry, changed, complete, problem, gone } = shown;
  const one = contracts.find(other => other.name === contract);
  if (problem) return byId("answer").replaceChildren(element("p", say("error") + problem, { class: "problem" }));
  if (gone) return byId("answer").replaceChildren(element("p", say("gone"), { class: "problem" }));
  if (!entry) return byId("answer").replaceChildren(element("p", say("none")(key), { class: "problem" }));
  const table = element("table");
  table.append(element("caption", `${one.title[language]} · ${entry.dataschema || contract}`));
  const body = element("tbody");
  for (const field of one.fields) {
    const row = element("tr", null, { "data-field": field.name });
    const value = entry.record[field.name];
    const cell = element("td", meant(field, value));
    if (changed.has(field.name)) cell.className = "changed";
    row.append(element("th", field.title[language], { scope: "row" }), cell);
    body.append(row);
  }
  const foot = element("tfoot");
  for (const [word, value] of [["changed", clock(entry.time, true)], ["source", entry.source], ["complete", clock(complete, true)]]) {
    const row = element("tr");
    row.append(element("th", say(word), { scope: "row" }), element("td", value));
    foot.append(row);
  }
  table.append(body, foot);
  const parts = [table];
  if (entry.refused) {
    parts.unshift(element("p", say("refused")(entry.refused.message), { class: "problem", role: "alert" }));
  }
  byId("answer").replaceChildren(...parts);
}

// A code with its meaning: "1 男".
function meant(field, value) {
  const label = field.labels && field.labels[value];
  return label ? `${value} ${label[language]}` : told(value);
}

function told(value) {
  if (value === null || value === undefined) return say("empty");
  return /^\d{4}-\d\d-\d\dT/.test(value) ? clock(value, true) : String(value);
}

function clock(text, withDate = false) {
  if (!text || text === "unknown") return "—";
  const at = new Date(text);
  const time = at.toLocaleTimeString("zh-CN", { hour12: false });
  return withDate ? `${at.toLocaleDateString("zh-CN")} ${time}` : time;
}

// ---- live changes --------------------------------------------------------------------------

// One feed for all contracts: a browser keeps only six connections to one address.
function follow() {
  const names = contracts.map(one => one.name).join();
  if (!names || (feed && feed.names === names)) return;
  if (feed) feed.close();
  const mine = new EventSource(`v1/events?from=now&contracts=${names}`);
  mine.names = names;
  feed = mine;
  mine.addEventListener("change", event => arrive(JSON.parse(event.data)));
  mine.addEventListener("watermark", event => {
    const mark = JSON.parse(event.data);
    if (shown && shown.contract === mark.contract && shown.entry) {
      shown.complete = mark.complete_as_of;
      const cell = document.querySelector("#answer tfoot tr:last-child td");
      if (cell) cell.textContent = clock(shown.complete, true);
    }
  });
  mine.addEventListener("error", () => {
    // The browser resumes a cut line by itself; a refused token ends it, and we begin anew.
    if (mine.readyState === EventSource.CLOSED && feed === mine) feed = null;
  });
}

function arrive(change) {
  if (shown && shown.contract === change.contract && shown.key === change.key) {
    const before = shown.entry ? shown.entry.record : {};
    shown.gone = change.op === "delete";
    if (!shown.gone) {
      shown.changed = new Set(Object.keys(change.record).filter(name => change.record[name] !== before[name]));
      shown.entry = { ...shown.entry, ...change };
    }
    drawAnswer();
  }
  if (!paused) list(change);
}

function list(change) {
  const one = contracts.find(other => other.name === change.contract);
  const item = element("li");
  const op = element("span", say(change.op), { class: "op", "data-op": change.op });
  const what = element("span", null, { class: "what" });
  const label = change.record && (change.record.name || change.record.company_name);
  const personal = name => one.fields.some(field => field.name === name && field.personal);
  what.append(`${one.title[language]} `);
  what.append(element("code", personal(one.key) ? maskNumber(change.key) : change.key));
  if (label) what.append(` ${change.record.name && personal("name") ? maskName(label) : label}`);
  const delay = Math.max(0, Date.now() - new Date(change.time));
  item.append(
    element("time", clock(change.time), { datetime: change.time }), op, what,
    element("span", delay < 60000 ? `${delay} ms` : "", { class: "delay" }),
  );
  const changes = byId("changes");
  changes.prepend(item);
  while (changes.children.length > MOST_CHANGES) changes.lastChild.remove();
  byId("no-changes").hidden = true;
}

// Whoever walks past the screen need not read who it is about.
const maskNumber = number => number.slice(0, 6) + "*".repeat(Math.max(0, number.length - 10)) + number.slice(-4);
const maskName = name => name.slice(0, 1) + "*".repeat(Math.max(1, name.length - 1));

// ---- begin ---------------------------------------------------------------------------------

byId("form").addEventListener("submit", event => {
  event.preventDefault();
  const key = byId("key").value.trim();
  if (key) lookUp(byId("contract").value, key);
});
byId("contract").addEventListener("change", titleKey);
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = say(paused ? "resume" : "pause");
});
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => speak(button.dataset.language));
}
speak(language);
refresh();
setInterval(refresh, 1000);
