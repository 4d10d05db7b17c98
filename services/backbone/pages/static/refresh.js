// Update the regions with the attribute `data-live`: fetch the page every two seconds and patch the document.
// The server renders every state of the page, so only its templates define the markup and escape text.
import { clockUtc, writeTimes } from "./times.js";
import { morph } from "./morph.js";

const EVERY_MS = 2_000;
const TYPING_MS = 250;
const TIMEOUT_MS = 10_000;

const status = document.querySelector("[data-refresh-status]");
const toggle = document.querySelector("[data-refresh-toggle]");
const search = document.querySelector("[data-search]");
let running = true;
let timer = 0;
let round = 0;
let updatedMs = Date.now();

async function refresh() {
  clearTimeout(timer);
  const mine = (round += 1);
  try {
    const response = await fetch(location.href, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { accept: "text/html" },
    });
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    if (mine !== round) return; // a later request has started: the reader has searched or sorted in the meantime
    if (!response.ok) throw new Error(problemOf(fresh) ?? `the server responded with status ${response.status}`);
    patch(fresh);
    document.dispatchEvent(new CustomEvent("push:refreshed"));
    updatedMs = Date.now();
    showStatus("");
  } catch (error) {
    if (mine === round) {
      showStatus(`Not updated: ${reasonOf(error)} (since ${utcTime(updatedMs)})`, "bad");
      writeTimes(document, Date.now()); // ages grow although nothing is new
    }
  }
  if (mine === round && running) timer = setTimeout(whenVisible, EVERY_MS);
}

function whenVisible() {
  if (document.hidden) document.addEventListener("visibilitychange", whenVisible, { once: true });
  else refresh();
}

function patch(fresh) {
  writeTimes(fresh, Date.now());
  for (const region of document.querySelectorAll("[data-live]")) {
    const counterpart = fresh.getElementById(region.id);
    if (counterpart) morph(region, counterpart);
  }
}

/** The first sentence of the reason that an error page or an incomplete page gives. */
function problemOf(fresh) {
  return fresh.querySelector("[data-problem]")?.textContent.trim().split(/\.(?:\s|$)/)[0];
}

function reasonOf(error) {
  if (error.name === "TimeoutError") return `no response within ${TIMEOUT_MS / 1000} s`;
  return error instanceof TypeError ? "the server does not respond" : error.message; // fetch raises a TypeError
}

function utcTime(ms) {
  return `${clockUtc(ms).slice(0, 8)} UTC`;
}

function showStatus(text, kind = "quiet") {
  if (!status || status.textContent === text) return;
  status.className = kind;
  status.textContent = text;
}

// Sorting and paging are links, and searching is a form. Both work without scripts. With scripts the page is not reloaded.
function stay(url) {
  const before = searched();
  history.pushState(null, "", url);
  if (searched() !== before) showSearched();
  refresh();
}

function searched() {
  return new URL(location.href).searchParams.get("q") ?? "";
}

function showSearched() {
  if (search) search.elements.q.value = searched();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-stay]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  stay(link.href);
});

if (search) {
  let typing = 0;
  const go = () => {
    clearTimeout(typing);
    const url = new URL(location.href);
    if (search.elements.q.value) url.searchParams.set("q", search.elements.q.value);
    else url.searchParams.delete("q");
    url.searchParams.delete("page");
    history.replaceState(null, "", url);
    refresh();
  };
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(go, TYPING_MS);
  });
}

addEventListener("popstate", () => {
  showSearched();
  refresh();
});

if (toggle) {
  toggle.hidden = false; // without JavaScript it could do nothing
  toggle.addEventListener("click", () => {
    running = !running;
    toggle.textContent = running ? "Pause refresh" : "Resume refresh";
    showStatus(running ? "" : `Paused at ${utcTime(updatedMs)}`);
    clearTimeout(timer);
    if (running) refresh();
  });
}

writeTimes(document, Date.now());
timer = setTimeout(whenVisible, EVERY_MS);
