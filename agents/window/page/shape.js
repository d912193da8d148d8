// What the contract lets a field hold, for the form; the window itself judges again.

import { told } from "./format.js";
import { say, words } from "./words.js";

/** @import { Field, Shape } from "./model.js" */
/** @typedef {{value: any, fault: string}} Judged */

/**
 * What was filled in, as the contract has it, or what is wrong with it.
 * @param {Field} field
 * @param {string} text
 * @param {boolean} empty it should be empty
 * @param {any} seen
 * @returns {Judged}
 */
export function faultOf(field, text, empty, seen) {
  const shape = field.shape ?? { type: "string" };
  if (empty) return seen === null || seen === undefined ? bad(say("same")) : { value: null, fault: "" };
  if (!text) return bad(say("needProposed"));
  const judged = judge(shape, text);
  if (!judged.fault && told(field, judged.value) === told(field, seen)) return bad(say("same"));
  return judged;
}

/** @param {string} fault @returns {Judged} */
const bad = (fault) => ({ value: null, fault });

/**
 * @param {Shape} shape
 * @param {string} text
 * @returns {Judged}
 */
function judge(shape, text) {
  switch (shape.type) {
    case "boolean":
      return { value: text === "true", fault: "" };
    case "integer":
      if (!/^-?\d{1,15}$/.test(text)) return bad(say("badWhole"));
      return within(shape, Number(text), Number(text));
    case "number":
      if (!/^-?\d+(\.\d+)?$/.test(text)) return bad(say("badNumber"));
      return within(shape, Number(text), Number(text));
    case "decimal":
      return decimal(shape, text);
    case "date":
      return /^\d{4}-\d\d-\d\d$/.test(text) ? { value: text, fault: "" } : bad(say("badDate"));
    case "datetime":
      // What is chosen is the time of day in China.
      return { value: `${text.length === 16 ? `${text}:00` : text}+08:00`, fault: "" };
    default:
      return string(shape, text);
  }
}

/**
 * @param {Shape} shape
 * @param {number} given
 * @param {any} value
 * @returns {Judged}
 */
function within(shape, given, value) {
  const { ge, gt, le, lt } = shape;
  if (typeof ge === "number" && given < ge) return bad(words().tooSmall(String(ge)));
  if (typeof gt === "number" && given <= gt) return bad(words().tooSmall(String(gt)));
  if (typeof le === "number" && given > le) return bad(words().tooLarge(String(le)));
  if (typeof lt === "number" && given >= lt) return bad(words().tooLarge(String(lt)));
  return { value, fault: "" };
}

/**
 * @param {Shape} shape
 * @param {string} text
 * @returns {Judged}
 */
function decimal(shape, text) {
  const found = /^(-?)(0|[1-9]\d*)(?:\.(\d+))?$/.exec(text.replace(/,/g, ""));
  if (!found) return bad(say("badNumber"));
  const digits = shape.digits ?? 18;
  const places = shape.places ?? 2;
  if (shape.positive && found[1]) return bad(words().tooSmall("0"));
  if ((found[3] ?? "").length > places) return bad(words().tooFine(places));
  if (String(found[2]).length + (found[3] ?? "").length > digits) return bad(words().tooManyDigits(digits));
  return { value: found[0], fault: "" };
}

/**
 * @param {Shape} shape
 * @param {string} text
 * @returns {Judged}
 */
function string(shape, text) {
  const length = [...text].length;
  if (shape.min_length && length < shape.min_length) return bad(words().tooShort(shape.min_length));
  if (shape.max_length && length > shape.max_length) return bad(words().tooLong(shape.max_length));
  if (shape.pattern && !new RegExp(shape.pattern, "u").test(text)) return bad(say("badForm"));
  return { value: text, fault: "" };
}
