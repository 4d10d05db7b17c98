// The virtual list: newest first, and only the rows in sight (and a few around) are in the document, however many are held.
//
// At the top it follows the newest event; scrolled down, what is in sight stays in sight while new rows come in above.
import { COLUMNS } from "./columns.js";

const OVERSCAN = 6;
const MAX_ROWS_IN_DOM = 1_000; // a bound that no screen reaches
// Between two drawings the main thread is free for keys and clicks for this many times as long as a drawing takes, layout
// and painting included: a fast machine draws each frame, a busy one seldom enough.
const FREE_PER_DRAWING = 1;
const MAX_MS_BETWEEN_DRAWS = 100;
const SMOOTHING = 0.3; // the share of the latest drawing in the average
const DIRECTION_CONTROLS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

export class EventList {
  #grid;
  #sizer;
  #body;
  #empty;
  #ring;
  #elements = []; // top to bottom, as in the document
  #topSequence = -1;
  #drawnAdded = 0;
  #active = -1;
  #pressed = -1;
  #frame = 0;
  #lastDraw = 0;
  #drawingMs = 0;
  #rowHeight = 28;
  #onOpen;

  constructor({ grid, ring, onOpen }) {
    this.#grid = grid;
    this.#sizer = grid.querySelector("[data-sizer]");
    this.#body = grid.querySelector("[data-rows]");
    this.#empty = document.querySelector("[data-empty]");
    this.#ring = ring;
    this.#onOpen = onOpen;
    grid.addEventListener("scroll", () => this.#request(true), { passive: true });
    grid.addEventListener("keydown", (event) => this.#key(event));
    // The row may be gone from under the pointer when the button comes up: what was pressed is what is opened.
    this.#body.addEventListener("pointerdown", (event) => (this.#pressed = sequenceOf(event.target)));
    this.#body.addEventListener("click", () => this.#clicked());
    new ResizeObserver(() => this.#measure()).observe(grid);
  }

  /** Show another ring: after a filter change or a clear. */
  show(ring) {
    this.#ring = ring;
    this.#drawnAdded = 0;
    this.#active = -1;
    this.#topSequence = -1;
    this.#grid.removeAttribute("aria-activedescendant");
    this.#grid.scrollTop = 0;
    for (const element of this.#elements) element.dataset.sequence = "";
    this.#request(true);
  }

  /** Rows were added to the ring: draw soon. Any number of calls cost one drawing. */
  added() {
    this.#request(false);
  }

  toNewest() {
    this.#grid.scrollTop = 0;
    this.#request(true);
  }

  focus() {
    this.#grid.focus({ preventScroll: true });
  }

  #request(atOnce) {
    if (atOnce) this.#lastDraw = 0;
    if (this.#frame === 0) this.#frame = requestAnimationFrame((now) => this.#tick(now));
  }

  #tick(now) {
    this.#frame = 0;
    if (now - this.#lastDraw < Math.min(MAX_MS_BETWEEN_DRAWS, FREE_PER_DRAWING * this.#drawingMs)) {
      this.#request(false);
      return;
    }
    this.#lastDraw = now;
    const begun = performance.now();
    this.#draw();
    // A task of its own comes after the frame is laid out and painted.
    setTimeout(() => (this.#drawingMs += SMOOTHING * (performance.now() - begun - this.#drawingMs)));
  }

  #measure() {
    this.#rowHeight = parseFloat(getComputedStyle(this.#grid).getPropertyValue("--row-height")) || 28;
    this.#request(true);
  }

  #draw() {
    const { added, length } = this.#ring;
    const height = this.#rowHeight;
    const arrived = added - this.#drawnAdded;
    this.#drawnAdded = added;
    this.#sizer.style.height = `${length * height}px`;
    // A reader who has scrolled away keeps the rows in sight: everything moved down by what came in above.
    if (arrived > 0 && this.#grid.scrollTop > height / 2) this.#grid.scrollTop += arrived * height;

    const first = Math.max(0, Math.min(length - 1, Math.floor(this.#grid.scrollTop / height)) - OVERSCAN);
    const inSight = Math.ceil(this.#grid.clientHeight / height) + 2 * OVERSCAN;
    const count = Math.max(0, Math.min(inSight, length - first, MAX_ROWS_IN_DOM));
    const top = added - 1 - first;

    this.#fit(count);
    this.#rotate(top);
    this.#elements.forEach((element, index) => this.#fill(element, top - index));
    this.#body.style.transform = `translateY(${first * height}px)`;
    this.#grid.setAttribute("aria-rowcount", String(length + 1));
    this.#empty.hidden = length > 0;
    if (this.#active >= 0 && this.#ring.at(this.#active) === undefined) this.#activate(-1);
  }

  #fit(count) {
    while (this.#elements.length < count) {
      const element = newRow();
      this.#elements.push(element);
      this.#body.append(element);
    }
    while (this.#elements.length > count) this.#elements.pop().remove();
  }

  // Elements whose rows stay in sight keep them: their text is not written again, and a selection in it survives.
  #rotate(top) {
    const shift = this.#topSequence < 0 ? 0 : top - this.#topSequence;
    this.#topSequence = top;
    if (shift === 0 || Math.abs(shift) >= this.#elements.length) return;
    for (let step = 0; step < Math.abs(shift); step += 1) {
      if (shift > 0) {
        const last = this.#elements.pop();
        this.#elements.unshift(last);
        this.#body.prepend(last);
      } else {
        const first = this.#elements.shift();
        this.#elements.push(first);
        this.#body.append(first);
      }
    }
  }

  #fill(element, sequence) {
    element.setAttribute("aria-rowindex", String(this.#ring.added - sequence + 1));
    element.setAttribute("aria-selected", String(sequence === this.#active));
    if (element.dataset.sequence === String(sequence)) return;
    const row = this.#ring.at(sequence);
    if (row === undefined) return;
    element.dataset.sequence = String(sequence);
    element.id = `row-${sequence}`;
    COLUMNS.forEach((column, index) => {
      const cell = element.children[index];
      writeIsolated(cell, column.text(row));
      if (column.title) cell.title = column.title(row);
      if (column.flag) cell.toggleAttribute("data-flag", column.flag(row));
    });
  }

  #clicked() {
    if (this.#pressed < 0 || !getSelection().isCollapsed) return; // selecting text is not opening
    this.#activate(this.#pressed);
    this.#open();
  }

  #open() {
    const row = this.#ring.at(this.#active);
    if (row !== undefined) this.#onOpen(row);
  }

  #key(event) {
    if (event.target !== this.#grid || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.#grid.clientHeight / this.#rowHeight) - 2);
    const newest = this.#ring.added - 1;
    const oldest = this.#ring.overwritten;
    const from = this.#active < 0 ? this.#firstInSight() + 1 : this.#active;
    const target = {
      ArrowDown: from - 1,
      ArrowUp: from + 1,
      PageDown: from - page,
      PageUp: from + page,
      Home: newest,
      End: oldest,
    }[event.key];
    if (event.key === "Enter") this.#open();
    else if (target === undefined) return;
    else if (newest >= oldest) this.#goTo(Math.min(newest, Math.max(oldest, target)));
    event.preventDefault();
  }

  #firstInSight() {
    return this.#ring.added - 1 - Math.floor(this.#grid.scrollTop / this.#rowHeight);
  }

  #goTo(sequence) {
    const offset = (this.#ring.added - 1 - sequence) * this.#rowHeight;
    const head = this.#sizer.offsetTop; // the heading stays on top of the rows
    const visible = this.#grid.clientHeight - head - this.#rowHeight;
    if (offset < this.#grid.scrollTop) this.#grid.scrollTop = offset;
    else if (offset > this.#grid.scrollTop + visible) this.#grid.scrollTop = offset - visible;
    this.#drawnAdded = this.#ring.added;
    this.#active = sequence;
    this.#draw();
    this.#activate(sequence);
  }

  #activate(sequence) {
    this.#active = sequence;
    for (const element of this.#elements) {
      element.setAttribute("aria-selected", String(element.dataset.sequence === String(sequence)));
    }
    if (sequence < 0) this.#grid.removeAttribute("aria-activedescendant");
    else this.#grid.setAttribute("aria-activedescendant", `row-${sequence}`);
  }
}

function newRow() {
  const row = document.createElement("div");
  row.className = "row";
  row.setAttribute("role", "row");
  for (const column of COLUMNS) {
    const cell = document.createElement("div");
    cell.className = `cell cell-${column.name}`;
    cell.setAttribute("role", "gridcell");
    cell.append(document.createElement("bdi"));
    row.append(cell);
  }
  return row;
}

// What an event does to the writing direction ends with its cell, and, where it does anything, with its parameter. Hardly
// any event does, so the usual cell is one text node that is written over.
function writeIsolated(cell, text) {
  if (!DIRECTION_CONTROLS.test(text)) {
    while (cell.childElementCount > 1) cell.lastChild.remove();
    cell.firstChild.textContent = text;
    return;
  }
  const parts = text.split(/(&)/).map((part) => {
    const isolated = document.createElement("bdi");
    isolated.textContent = part;
    return isolated;
  });
  cell.replaceChildren(...parts);
}

function sequenceOf(target) {
  const row = target.closest(".row");
  return row ? Number(row.dataset.sequence) : -1;
}
