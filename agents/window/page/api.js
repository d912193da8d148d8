// Asking the window. Whoever is not logged in is asked to, and then the question is put again.

/** An answer that is no; `status` 0 when there was none. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   */
  constructor(status, detail) {
    super(detail);
    this.status = status;
    this.detail = detail;
  }
}

/** @type {() => Promise<void>} */
let login = async () => {
  throw new Problem(401, "");
};

/**
 * What is done when the window wants to know who asks; it ends when somebody is logged in.
 * @param {() => Promise<void>} how
 */
export function whenRefused(how) {
  login = how;
}

/** @typedef {{method?: string, body?: unknown, headers?: Record<string, string>, patient?: boolean}} How */

/**
 * The window's answer. Throws Problem.
 * @param {string} path
 * @param {How} [how] `patient` false: a 401 is an answer like any other
 * @returns {Promise<Response>}
 */
export async function ask(path, how = {}) {
  for (;;) {
    const answer = await once(path, how);
    if (answer.ok) return answer;
    if (answer.status === 401 && how.patient !== false) {
      await login();
      continue;
    }
    throw new Problem(answer.status, await detailOf(answer));
  }
}

/**
 * @param {string} path
 * @param {How} [how]
 * @returns {Promise<any>}
 */
export async function read(path, how) {
  return (await ask(path, how)).json();
}

/**
 * @param {string} path
 * @param {How} how
 */
async function once(path, { method = "GET", body, headers = {} }) {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), 10_000);
  /** @type {RequestInit} */
  const asked = { method, cache: "no-store", credentials: "same-origin", signal: patience.signal, headers };
  if (body !== undefined) {
    asked.body = JSON.stringify(body);
    asked.headers = { ...headers, "Content-Type": "application/json" };
  }
  try {
    return await fetch(path, asked);
  } catch {
    throw new Problem(0, "");
  } finally {
    clearTimeout(timer);
  }
}

/** @param {Response} answer */
async function detailOf(answer) {
  try {
    const problem = await answer.json();
    return String(problem.detail ?? problem.title ?? "");
  } catch {
    return "";
  }
}

/**
 * The path of a record.
 * @param {string} contract
 * @param {string} key
 */
export const recordPath = (contract, key) =>
  `v1/${encodeURIComponent(contract)}/records/${encodeURIComponent(key)}`;
