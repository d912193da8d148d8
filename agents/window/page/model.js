// What the page knows, and who wants to hear of it.

/** @typedef {{zh: string, en: string}} Text */
/** @typedef {{type: string, nullable?: boolean, min_length?: number, max_length?: number | null, pattern?: string | null, format?: string | null, ge?: number | null, gt?: number | null, le?: number | null, lt?: number | null, digits?: number, places?: number, positive?: boolean, values?: string[]}} Shape */
/** @typedef {{name: string, title: Text, personal: boolean, labels: Record<string, Text>, shape?: Shape}} Field */
/** @typedef {"good" | "wait" | "late" | "bad"} State */
/** @typedef {{name: string, revision: string, title: Text, owner: Text, key: string, scope: string, freshness_s: number, complete_as_of: string | null, age_s: number | null, records: number, state: string, error: string | null, lag: number | null, events: number, latency_ms: {p50: number, p99: number} | null, fields: Field[], searchable?: string[], refused: number, signed?: {state: "proven" | "unsigned" | "untrusted" | "stopped", by: string[], said: string} | null, sunset: string | null}} Contract */
/** @typedef {Record<string, any>} Values */
/** @typedef {{id?: string, time: string, path: string, rule: string, message: string}} Refused */
/** @typedef {{contract: string, key: string, record: Values, scope: string, time: string, sequence: string, id: string, source: string, dataschema?: string, refused?: Refused}} Entry */
/** @typedef {{op: "put" | "delete", contract: string, key: string, scope: string, record: Values | null, time: string, sequence: string, id: string, source: string}} Change */
/** @typedef {{contract: string, complete_as_of: string | null, state: string}} Watermark */
/** @typedef {{kind: "machine" | "system" | "clerk" | null, name: string, purpose: string, corrections: boolean, login: {token: boolean, oidc: string | null}}} Session */
/** @typedef {{id: string, contract: string, key: string, field: string, seen: any, proposed: any, evidence: string, filed_at: string, filed_by: string, state: "sent" | "received" | "accepted" | "rejected", due: string | null, overdue: boolean, note: string | null, answered_at: string | null}} Correction */

/**
 * @typedef {object} Heard
 * @property {void} contracts the contracts were read again
 * @property {Change} change
 * @property {Watermark} watermark
 * @property {void} gap changes went by that cannot be told any more
 * @property {void} language
 * @property {void} session somebody else, or nobody, reads now
 * @property {void} line the line to the window was lost, or is back
 * @property {void} tick a moment passed
 */

export const model = {
  /** @type {string} */ office: "—",
  /** @type {Contract[]} */ contracts: [],
  /** @type {Session | null} */ session: null,
  /** Milliseconds by which the window's clock is ahead of this one. */
  skew: 0,
  /** Is the line to the window up? */
  line: true,
  /** Since when it is not, on this page's own clock. */
  lost: 0,
  /** May corrections be sent from here? */
  corrections: false,
};

/** @type {Map<string, Array<(value: any) => void>>} */
const heard = new Map();

/**
 * @template {keyof Heard} K
 * @param {K} what
 * @param {(value: Heard[K]) => void} tell
 */
export function on(what, tell) {
  heard.set(what, [...(heard.get(what) ?? []), tell]);
}

/**
 * @template {keyof Heard} K
 * @param {K} what
 * @param {Heard[K]} value
 */
export function emit(what, value) {
  for (const tell of heard.get(what) ?? []) tell(value);
}

/**
 * @param {string} name
 * @returns {Contract | undefined}
 */
export const contractOf = (name) => model.contracts.find((one) => one.name === name);

/**
 * @param {Contract} contract
 * @param {string} name
 * @returns {Field | undefined}
 */
export const fieldOf = (contract, name) => contract.fields.find((one) => one.name === name);

/** Now, by the window's clock, in milliseconds. */
export const now = () => Date.now() + model.skew;

/**
 * Seconds since a contract was complete; null where that is not known.
 * @param {Contract} contract
 */
export function ageOf(contract) {
  if (!contract.complete_as_of) return null;
  return Math.max(0, (now() - Date.parse(contract.complete_as_of)) / 1000);
}

/**
 * @param {Contract} contract
 * @returns {State}
 */
export function stateOf(contract) {
  if (contract.state === "stopped") return "bad";
  const age = ageOf(contract);
  if (age === null) return "wait";
  // Watermarks come once a second: what is promised is measured between them.
  return age > contract.freshness_s + 0.5 ? "late" : "good";
}
