// Keyboard shortcuts of pages with lists: `/` focuses the search, `j` and `k` move the focus over the elements with
// `data-item`, `?` opens the help.
import "./dialog.js";
import { installShortcuts } from "./shortcuts.js";

const help = document.getElementById("keys-help");

// The link of a card or row takes the focus, so that Enter opens it. An item without a link takes it itself.
function moveFocus(step) {
  const items = [...document.querySelectorAll("[data-item]")];
  const focused = items.findIndex((item) => item.contains(document.activeElement));
  const item = items[focused < 0 ? 0 : Math.min(Math.max(focused + step, 0), items.length - 1)];
  (item?.querySelector("h2 a, th a") ?? item)?.focus();
}

installShortcuts(
  {
    "/": () => document.querySelector("[role=search] :is(input[type=search], textarea)")?.focus(),
    j: () => moveFocus(1),
    k: () => moveFocus(-1),
    "?": () => help.showModal(),
  },
  help.querySelector("[data-shortcuts]"),
);
document.querySelector("[data-open-dialog=keys-help]").hidden = false;
