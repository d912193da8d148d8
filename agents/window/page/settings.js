// Language, and light or dark: chosen once, remembered on this machine.

import { emit } from "./model.js";
import { chooseLanguage, language, speak } from "./words.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");

export function begin() {
  for (const button of buttons("[data-language]")) {
    button.addEventListener("click", () => {
      chooseLanguage(button.dataset.language === "zh" ? "zh" : "en");
      talk();
    });
  }
  for (const button of buttons("[data-theme-choice]")) {
    button.addEventListener("click", () => {
      remember(String(button.dataset.themeChoice));
      paint();
    });
  }
  DARK.addEventListener("change", paint);
  paint();
  talk();
}

/** @param {string} which */
const buttons = (which) => /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(which));

function talk() {
  speak();
  for (const button of buttons("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language()));
  }
  emit("language", undefined);
}

function paint() {
  const choice = remembered();
  document.documentElement.dataset.theme = choice === "auto" ? (DARK.matches ? "dark" : "light") : choice;
  for (const button of buttons("[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
  }
}

function remembered() {
  try {
    const kept = localStorage.getItem("theme");
    return kept === "light" || kept === "dark" ? kept : "auto";
  } catch {
    return "auto";
  }
}

/** @param {string} choice */
function remember(choice) {
  try {
    localStorage.setItem("theme", choice);
  } catch {
    // A kiosk may forbid it: the choice lasts as long as the page.
  }
  if (choice !== "auto") document.documentElement.dataset.theme = choice;
}
