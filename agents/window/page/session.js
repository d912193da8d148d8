// Who reads here and what for; the form for whoever is not known, and the way out.

import { Problem, ask, read, whenRefused } from "./api.js";
import { announce, byId, write } from "./dom.js";
import { emit, model, on } from "./model.js";
import { say, sayProblem } from "./words.js";

/** @import { Session } from "./model.js" */

/** @type {Session} Where nothing says who may see what. */
const MACHINE = {
  kind: "machine",
  name: "",
  purpose: "",
  corrections: true,
  login: { token: false, oidc: null },
};
const NOBODY = { ...MACHINE, kind: null, corrections: false };

/** @type {Promise<void> | null} */
let asking = null;
/** @type {() => void} */
let done = () => {};
let before = false;
let login = { token: true, oidc: /** @type {string | null} */ (null) };

/** Find out who reads; ends when somebody does. */
export async function begin() {
  whenRefused(logIn);
  dialog().addEventListener("cancel", (event) => event.preventDefault());
  byId("login-form", HTMLFormElement).addEventListener("submit", enter);
  byId("leave", HTMLButtonElement).addEventListener("click", leave);
  addEventListener("focus", look);
  setInterval(look, 3000);
  on("language", draw);
  for (;;) {
    try {
      await use(await fetchSession());
      return;
    } catch {
      await new Promise((wake) => setTimeout(wake, 1000)); // the window does not answer yet
    }
  }
}

const dialog = () => byId("login", HTMLDialogElement);

/** @returns {Promise<Session>} */
async function fetchSession() {
  try {
    return await read("v1/session", { patient: false });
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return MACHINE;
    if (error instanceof Problem && error.status === 401) return { ...NOBODY, login: { token: true, oidc: null } };
    throw error;
  }
}

/** @param {Session} session */
async function use(session) {
  login = session.login ?? login;
  if (session.kind === null) {
    await logIn();
    return;
  }
  welcome(session);
}

/** @param {Session} session */
function welcome(session) {
  const other = model.session !== null && (model.session.kind !== session.kind || model.session.name !== session.name);
  model.session = session;
  before = true;
  if (other) {
    // What one reader had on the screen is not for the next.
    location.reload();
    return;
  }
  draw();
  emit("session", undefined);
}

/** Ask who it is; ends when somebody is logged in. Whoever asks meanwhile waits for the same. */
function logIn() {
  asking ??= new Promise((resolve) => {
    done = () => {
      asking = null;
      resolve();
    };
    if (before) {
      void fetchSession().then((session) => {
        login = session.login ?? login;
        draw();
      }, () => {}); // prettier-ignore
    }
    draw();
    const shown = dialog();
    if (!shown.open) shown.showModal();
    (login.oidc ? byId("login-link", HTMLAnchorElement) : byId("token", HTMLInputElement)).focus();
  });
  return asking;
}

/** @param {Event} event */
async function enter(event) {
  event.preventDefault();
  const token = byId("token", HTMLInputElement);
  const message = byId("login-message", HTMLElement);
  write(message, "");
  try {
    await ask("v1/session", { method: "POST", body: { token: token.value.trim() }, patient: false });
    token.value = "";
    await look();
  } catch (error) {
    const status = error instanceof Problem ? error.status : 0;
    const wrong = status === 401 || status === 403 || status === 400;
    write(message, wrong ? say("badToken") : sayProblem(status));
    token.focus();
    token.select();
  }
}

/** While the form is up: did somebody log in, here or on the office's own page? */
async function look() {
  if (!asking) return;
  try {
    const session = await fetchSession();
    if (session.kind === null || !asking) return;
    dialog().close();
    welcome(session);
    done();
  } catch {
    // Asked again in a moment.
  }
}

async function leave() {
  try {
    await ask("v1/session", { method: "DELETE", patient: false });
  } catch {
    // The page is emptied all the same.
  }
  location.reload();
}

function draw() {
  const session = model.session;
  const known = session !== null;
  byId("reader", HTMLElement).hidden = !known;
  byId("leave", HTMLElement).hidden = !known || session.kind === "machine";
  if (known) {
    const machine = session.kind === "machine";
    write(byId("reader-name", HTMLElement), machine ? say("machine") : session.name);
    write(byId("reader-purpose", HTMLElement), machine ? say("machinePurpose") : session.purpose);
  }
  write(byId("login-title", HTMLElement), say(before ? "loginAgain" : "loginTitle"));
  const none = !login.token && !login.oidc;
  const more = none ? "noLogin" : before ? "loginAgainMore" : "loginMore";
  write(byId("login-more", HTMLElement), say(more) + (before && login.oidc ? ` ${say("oidcMore")}` : ""));
  byId("login-form", HTMLFormElement).hidden = !login.token;
  byId("login-or", HTMLElement).hidden = !(login.token && login.oidc);
  byId("login-enter", HTMLElement).className = login.oidc ? "" : "main";
  // Only an address of this window itself.
  const way = login.oidc && /^\/(?![/\\])/.test(login.oidc) ? login.oidc : null;
  byId("login-oidc", HTMLElement).hidden = way === null;
  const link = byId("login-link", HTMLAnchorElement);
  if (way) link.setAttribute("href", way);
  // What was typed here stays: the office's page opens beside it.
  if (before) link.setAttribute("target", "_blank");
  if (before && asking) announce(say("loginAgain"));
}
