// The pane with one whole event: decoded meta and parameters, the raw value, and buttons to copy them.
import { copyText } from "../push/copy.js";
import { isoTime, localTime } from "../push/times.js";

export class Detail {
  #pane;
  #title;
  #place;
  #body;
  #status;
  #onClose;
  #event = null;
  #abort = null;

  constructor({ pane, onClose }) {
    this.#pane = pane;
    this.#title = pane.querySelector("[data-title]");
    this.#place = pane.querySelector("[data-place]");
    this.#body = pane.querySelector("[data-body]");
    this.#status = pane.querySelector("[data-detail-status]");
    this.#onClose = onClose;
    pane.querySelector("[data-close]").addEventListener("click", () => this.close());
    pane
      .querySelector("[data-copy=raw]")
      .addEventListener("click", () => this.#copy((event) => event.raw, "Raw value"));
    pane
      .querySelector("[data-copy=json]")
      .addEventListener("click", () => this.#copy((event) => JSON.stringify(event, null, 2), "JSON"));
    pane.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  async open(row) {
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    this.#event = null;
    this.#title.textContent = row.type || "Not an event";
    this.#place.textContent = `${row.t} / ${row.p} / ${row.o}`;
    this.#status.textContent = "Loading …";
    this.#body.replaceChildren();
    this.#pane.hidden = false;
    this.#pane.querySelector("[data-close]").focus();
    try {
      const event = await fetchEvent(row, abort.signal);
      this.#event = event;
      this.#status.textContent = event.invalid ? `Invalid event: ${event.invalid}` : "";
      this.#body.replaceChildren(...sections(event, row));
    } catch (error) {
      if (error.name !== "AbortError") this.#status.textContent = error.message;
    }
  }

  get isOpen() {
    return !this.#pane.hidden;
  }

  close() {
    if (this.#pane.hidden) return;
    this.#abort?.abort();
    this.#pane.hidden = true;
    this.#onClose();
  }

  async #copy(text, what) {
    if (this.#event === null) return;
    const copied = await copyText(text(this.#event));
    this.#status.textContent = copied ? `${what} copied.` : "The browser did not allow copying.";
  }
}

async function fetchEvent(row, signal) {
  const query = new URLSearchParams({ topic: row.t, partition: row.p, offset: row.o });
  const response = await fetch(`/kafidx/event?${query}`, { signal, headers: { accept: "application/json" } });
  if (!response.ok) {
    const reason = await response.json().then(
      (body) => body.reason ?? body.detail,
      () => null,
    );
    throw new Error(typeof reason === "string" ? reason : `The server responded with status ${response.status}.`);
  }
  return response.json();
}

function sections(event, row) {
  const record = [
    ["received", fullTime(row.ts)],
    ["local time", localTime(row.ts)],
    ["address", row.ip || "–"],
    ["key", event.key ?? "–"],
    ...pairs(event.headers).map(([name, value]) => [`header ${name}`, value]),
  ];
  const raw = document.createElement("pre");
  raw.className = "block";
  raw.textContent = event.raw;
  raw.tabIndex = 0; // the element scrolls, so it must be reachable by keyboard
  raw.setAttribute("aria-label", "Raw value");
  raw.setAttribute("role", "region");
  return [
    ...section("Parameters", pairs(event.params), event.params_left_out),
    ...section("Meta", pairs(event.meta), event.meta_left_out),
    ...section("Record", record),
    heading("Raw value"),
    raw,
  ];
}

function section(name, entries, leftOut = 0) {
  if (entries.length === 0) return [heading(name), paragraph("none")];
  const list = document.createElement("dl");
  for (const [key, value] of entries) list.append(textIn("dt", key), textIn("dd", value, noteOn(key, value)));
  if (!leftOut) return [heading(name), list];
  return [heading(name), list, paragraph(`${leftOut.toLocaleString("en")} more in the raw value`)];
}

function heading(text) {
  const element = document.createElement("h3");
  element.textContent = text;
  return element;
}

function paragraph(text) {
  const element = document.createElement("p");
  element.className = "quiet";
  element.textContent = text;
  return element;
}

function textIn(tag, text, note = "") {
  const element = document.createElement(tag);
  const isolated = document.createElement("bdi"); // direction controls of one value must not affect the next
  isolated.textContent = String(text);
  element.append(isolated);
  if (note) {
    const beside = document.createElement("span");
    beside.className = "quiet";
    beside.textContent = note;
    element.append(" ", beside);
  }
  return element;
}

function fullTime(ms) {
  return isoTime(ms).replace("T", " ").replace("Z", " UTC");
}

// What a number means: the time of ms since 1970 from 2001 to 2033, or the unit.
function noteOn(key, value) {
  if (key === "klag") return "ms queue delay";
  return /^1\d{12}$/.test(value) ? fullTime(Number(value)) : "";
}

function pairs(value) {
  if (Array.isArray(value)) return value;
  return Object.entries(value ?? {});
}
