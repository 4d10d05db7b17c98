// Buttons with `data-copy-text` copy that text. They are hidden until this module runs.
import { copyText } from "./copy.js";

const SHOWN_MS = 2_000;

for (const button of document.querySelectorAll("[data-copy-text]")) {
  const label = button.title;
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.title = (await copyText(button.dataset.copyText)) ? "Copied" : "Not copied: select the text";
    button.setAttribute("aria-label", button.title);
    setTimeout(() => {
      button.title = label;
      button.setAttribute("aria-label", label);
    }, SHOWN_MS);
  });
}
