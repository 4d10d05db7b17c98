// Upload pictures by choice or by drop, one after the other, with progress and the reason of a refusal.
import "./push/keys.js";
import { writeTimes } from "./push/times.js";

const form = document.querySelector("[data-upload]");
const list = form.querySelector("[data-uploads]");
const input = form.querySelector("input[type=file]");

writeTimes(document, Date.now());

/** Send a file. Resolves to an empty text, or to the reason why it was not stored. */
function send(file, onProgress) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("file", file);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    request.addEventListener("load", () => resolve(request.status === 200 ? "" : reasonOf(request)));
    request.addEventListener("error", () => resolve("The connection was lost. The picture may not be stored."));
    request.open("POST", form.action);
    request.send(body);
  });
}

function reasonOf(request) {
  try {
    return JSON.parse(request.responseText).detail;
  } catch {
    return `The imageserver responded with status ${request.status}.`;
  }
}

async function upload(files) {
  let stored = 0;
  for (const file of files) {
    const row = document.createElement("li");
    const progress = document.createElement("progress");
    const state = document.createElement("span");
    progress.max = 1;
    progress.value = 0;
    progress.setAttribute("aria-label", `Upload of ${file.name}`);
    row.append(file.name, progress, state);
    list.append(row);
    const reason = await send(file, (share) => {
      progress.value = share;
    });
    progress.remove();
    state.className = reason ? "bad" : "good";
    state.textContent = reason || "stored";
    if (!reason) stored += 1;
  }
  if (stored && stored === files.length) location.reload();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  upload([...input.files]);
});
form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("is-over");
});
form.addEventListener("dragleave", () => form.classList.remove("is-over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("is-over");
  upload([...event.dataTransfer.files]);
});
