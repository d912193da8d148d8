"use strict";
// Runs before anything is drawn, so that a dark screen never flashes white. See settings.js.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    // A kiosk may forbid it.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme =
    theme === "light" || theme === "dark" ? theme : dark ? "dark" : "light";
})();
