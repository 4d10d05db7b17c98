// Sets the chosen colour scheme before the page is first painted: a classic script in the head, because a module would
// run after the first paint and flash. Without a choice the browser's prefers-color-scheme rules (base.css).
"use strict";

(() => {
  const KEY = "kafidx-theme";
  const SCHEMES = ["auto", "light", "dark"];
  const LABELS = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

  function stored() {
    try {
      const scheme = localStorage.getItem(KEY);
      return SCHEMES.includes(scheme) ? scheme : "auto";
    } catch {
      return "auto"; // storage may be forbidden: the page still works, the choice lasts as long as the page
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
