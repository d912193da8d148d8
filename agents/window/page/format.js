// Dates, numbers and values as people read them.

import { element } from "./dom.js";
import { language, say, sayIn } from "./words.js";

/** @import { Field, Text } from "./model.js" */

// The offices are in one time zone, whatever this machine believes.
const ZONE = "Asia/Shanghai";

/** @type {Map<string, Intl.DateTimeFormat | Intl.NumberFormat>} */
const made = new Map();

const locale = () => (language() === "zh" ? "zh-CN" : "en-GB");

/**
 * @param {Intl.DateTimeFormatOptions} options
 * @returns {Intl.DateTimeFormat}
 */
function dates(options) {
  const name = `d${locale()}${JSON.stringify(options)}`;
  let found = made.get(name);
  if (!(found instanceof Intl.DateTimeFormat)) {
    found = new Intl.DateTimeFormat(locale(), options);
    made.set(name, found);
  }
  return found;
}

/**
 * @param {Intl.NumberFormatOptions} options
 * @returns {Intl.NumberFormat}
 */
function numbers(options) {
  const name = `n${locale()}${JSON.stringify(options)}`;
  let found = made.get(name);
  if (!(found instanceof Intl.NumberFormat)) {
    found = new Intl.NumberFormat(locale(), options);
    made.set(name, found);
  }
  return found;
}

/** @param {number} value */
export const number = (value) => numbers({}).format(value);

/**
 * The time of the day.
 * @param {string | number} moment
 */
export function clock(moment) {
  return dates({ timeZone: ZONE, hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit" })
    .format(new Date(moment)); // prettier-ignore
}

/**
 * Day and time.
 * @param {string | number} at
 */
export function moment(at) {
  return dates({
    timeZone: ZONE, hourCycle: "h23", year: "numeric", month: "long", day: "numeric",
    hour: "2-digit", minute: "2-digit", second: "2-digit",
  }).format(new Date(at)); // prettier-ignore
}

/**
 * A day, of `2026-11-25` or of a moment.
 * @param {string} at
 */
export function day(at) {
  const zone = at.length === 10 ? "UTC" : ZONE;
  return dates({ timeZone: zone, year: "numeric", month: "long", day: "numeric" }).format(new Date(at));
}

/**
 * A length of time, as exact as a glance needs.
 * @param {number} seconds
 */
export function span(seconds) {
  /** @type {[number, string, number]} */
  const [value, unit, places] =
    seconds < 10 ? [seconds, "second", 1]
    : seconds < 120 ? [seconds, "second", 0]
    : seconds < 7200 ? [seconds / 60, "minute", 0]
    : seconds < 172_800 ? [seconds / 3600, "hour", 0]
    : [seconds / 86_400, "day", 0]; // prettier-ignore
  return numbers({
    style: "unit", unit, unitDisplay: language() === "zh" ? "short" : "long",
    minimumFractionDigits: places, maximumFractionDigits: places,
  }).format(value); // prettier-ignore
}

/**
 * A length of time that does not tick, for a promise or a scale.
 * @param {number} seconds
 */
export function length(seconds) {
  const [value, unit] = seconds < 60 ? [seconds, "second"] : seconds < 3600 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  return numbers({ style: "unit", unit: String(unit), unitDisplay: "short", maximumFractionDigits: 1 })
    .format(Number(value)); // prettier-ignore
}

/** @param {Text} text */
export const inWords = (text) => text[language()] || text.zh;

/**
 * A value as plain text: a code with its meaning, a day, a sum.
 * @param {Field | undefined} field
 * @param {any} value
 * @returns {string}
 */
export function told(field, value) {
  if (value === null || value === undefined || value === "") return say("empty");
  const label = field?.labels[String(value)];
  if (label) return `${inWords(label)} ${value}`;
  if (typeof value === "boolean") return say(value ? "yes" : "no");
  if (Array.isArray(value)) return value.map((each) => told(undefined, each)).join(sayIn("；", "; "));
  if (typeof value === "object") {
    return Object.entries(value).map(([name, each]) => `${name} ${told(undefined, each)}`).join(sayIn("，", ", "));
  }
  const type = field?.shape?.type;
  const text = String(value);
  if (type === "date" && /^\d{4}-\d\d-\d\d$/.test(text)) return day(text);
  if (type === "datetime" && !Number.isNaN(Date.parse(text))) return moment(text);
  if (type === "decimal" && /^-?\d+(\.\d+)?$/.test(text)) {
    const places = text.split(".")[1]?.length ?? 0;
    return Math.abs(Number(text)) < 1e15 ? numbers({ minimumFractionDigits: places }).format(Number(text)) : text;
  }
  if (type === "integer" || type === "number") return typeof value === "number" ? number(value) : text;
  return text;
}

/**
 * A value for a glance: what a code means, without the code.
 * @param {Field} field
 * @param {any} value
 */
export function brief(field, value) {
  const label = field.labels[String(value)];
  return label ? inWords(label) : told(field, value);
}

// Long numbers are read out in groups.
const GROUPS = [
  { of: /^\d{17}[\dX]$/, sizes: [6, 8, 4] },
  { of: /^[0-9A-Z]{18}$/, sizes: [2, 6, 10] },
  { of: /^1\d{10}$/, sizes: [3, 4, 4] },
];

/**
 * A value as it is shown: a code dimmed behind its meaning, long numbers in groups without a space in them.
 * @param {Field | undefined} field
 * @param {any} value
 * @returns {Node[]}
 */
export function shown(field, value) {
  const label = field?.labels[String(value)];
  if (label) return [document.createTextNode(inWords(label)), element("span", { class: "code" }, String(value))];
  const text = told(field, value);
  if (value === null || value === undefined || value === "") return [element("span", { class: "none" }, text)];
  const group = typeof value === "string" && GROUPS.find((one) => one.of.test(value));
  if (group) {
    let from = 0;
    return group.sizes.map((size) => element("span", { class: "group" }, text.slice(from, (from += size))));
  }
  return [/[\u3400-\u9fff]/.test(text) && language() !== "zh" ? element("span", { lang: "zh-CN" }, text) : document.createTextNode(text)];
}

/**
 * Whoever walks past the screen need not read who it is about.
 * @param {string} text
 */
export function maskNumber(text) {
  if (text.length <= 4) return "*".repeat(text.length);
  const head = text.length > 10 ? 6 : 0;
  return text.slice(0, head) + "*".repeat(text.length - head - 4) + text.slice(-4);
}

/** @param {string} text */
export const maskName = (text) => text.slice(0, 1) + "*".repeat(Math.max(1, text.length - 1));
