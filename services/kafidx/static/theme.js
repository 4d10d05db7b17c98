// Set the selected colour scheme before the first paint. This is a classic script in the head, since a module runs after
// the first paint and the page would flash. Without a selection the browser's prefers-color-scheme is used (base.css).
"use strict";

(() => {
  const KEY = "kafidx-theme";
  const SCHEMES = ["auto", "light", "dark"];
  const LABELS = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

  function stored() {
    try {
      const scheme = localStorage.getItem(KEY);
      return SCHEMES.includes(scheme) ? scheme : "auto";
    } catch {
      return "auto"; // storage may be disabled: then the selection is kept until the page is closed
    }
  }

  let scheme = stored();

  function apply() {
    if (scheme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = scheme;
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      button.textContent = LABELS[scheme];
    }
  }

  function next() {
    scheme = SCHEMES[(SCHEMES.indexOf(scheme) + 1) % SCHEMES.length];
    try {
      localStorage.setItem(KEY, scheme);
    } catch {
      // see stored()
    }
    apply();
  }

  apply();
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    for (const button of document.querySelectorAll("[data-theme-toggle]")) button.addEventListener("click", next);
  });
})();
