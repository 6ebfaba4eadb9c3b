// Runs before the first paint, so that a page that was set to dark never flashes white.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("edge-infer-theme");
  } catch {
    // storage may be forbidden; then the system's choice holds
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
