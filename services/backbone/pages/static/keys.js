// Keyboard shortcuts of pages with lists: `/` focuses the search, `j` and `k` move the focus over the elements with
// `data-item`, `?` opens the help. The help can switch them off, since speech input may type single letters.
import "./dialog.js";

const SHORTCUTS_KEY = "push-shortcuts";

const help = document.getElementById("keys-help");
const shortcutsBox = help.querySelector("[data-shortcuts]");
const shortcuts = {
  "/": () => document.querySelector("[role=search] :is(input[type=search], textarea)")?.focus(),
  j: () => moveFocus(1),
  k: () => moveFocus(-1),
  "?": () => help.showModal(),
};

// The link of a card or row takes the focus, so that Enter opens it. An item without a link takes it itself.
function moveFocus(step) {
  const items = [...document.querySelectorAll("[data-item]")];
  const focused = items.findIndex((item) => item.contains(document.activeElement));
  const item = items[focused < 0 ? 0 : Math.min(Math.max(focused + step, 0), items.length - 1)];
  (item?.querySelector("h2 a, th a") ?? item)?.focus();
}

function isTyping(target) {
  return target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (!shortcutsBox.checked || event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]") || !Object.hasOwn(shortcuts, event.key)) return;
  event.preventDefault();
  shortcuts[event.key]();
});

try {
  shortcutsBox.checked = localStorage.getItem(SHORTCUTS_KEY) !== "off";
} catch {
  // Storage may be disabled. The choice then lasts until the page is closed.
}
shortcutsBox.addEventListener("change", () => {
  try {
    localStorage.setItem(SHORTCUTS_KEY, shortcutsBox.checked ? "on" : "off");
  } catch {
    // as above
  }
});
document.querySelector("[data-open-dialog=keys-help]").hidden = false;
