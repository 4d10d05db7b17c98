// The virtual list, newest event first. Only the visible rows and a few around them are in the document.
//
// At the top the list follows the newest event. When it is scrolled down, the visible rows stay while new rows are added
// above.
import { COLUMNS } from "./columns.js";

const OVERSCAN = 6;
const MAX_ROWS_IN_DOM = 1_000; // a limit above the height of any screen
// The free time of the main thread between two drawings, for keys and clicks, in multiples of the time of one drawing
// with layout and painting. A fast machine draws each frame, and a busy one draws less often.
const FREE_PER_DRAWING = 1;
const MAX_MS_BETWEEN_DRAWS = 100;
// Rows fade in when a drawing adds few of them, and few are fading. More would cost time in each frame.
const MOST_FRESH = 5;
const MOST_FADING = 30;
const FADE_MS = 1_200; // as in live.css
const SMOOTHING = 0.3; // the weight of the latest drawing in the average
const DIRECTION_CONTROLS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

export class EventList {
  #grid;
  #sizer;
  #body;
  #ring;
  #elements = []; // top to bottom, as in the document
  #topSequence = -1;
  #drawnAdded = 0;
  #active = -1;
  #pressed = -1;
  #frame = 0;
  #lastDraw = 0;
  #drawingMs = 0;
  #freshFrom = Infinity; // rows from this sequence on fade in
  #fadesSince = 0;
  #fades = 0;
  #rowHeight = 28;
  #onOpen;

  constructor({ grid, ring, onOpen }) {
    this.#grid = grid;
    this.#sizer = grid.querySelector("[data-sizer]");
    this.#body = grid.querySelector("[data-rows]");
    this.#ring = ring;
    this.#onOpen = onOpen;
    grid.addEventListener("scroll", () => this.#request(true), { passive: true });
    grid.addEventListener("keydown", (event) => this.#key(event));
    // The row may move before the button is released, so remember the pressed row.
    this.#body.addEventListener("pointerdown", (event) => (this.#pressed = sequenceOf(event.target)));
    this.#body.addEventListener("click", () => this.#clicked());
    new ResizeObserver(() => this.#measure()).observe(grid);
  }

  /** Show another ring, after a change of the filters or a clear. */
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

  /** Draw soon, since rows were added to the ring. Several calls cause one drawing. */
  added() {
    this.#request(false);
  }

  toNewest() {
    this.#grid.scrollTop = 0;
    this.#request(true);
  }

  /** Select the row `steps` rows below the selected one. Without one, start at the first row in sight. */
  move(steps) {
    this.focus();
    this.#goNear(this.#position() - steps);
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
    const started = performance.now();
    this.#draw();
    // A new task runs after layout and painting of the frame.
    setTimeout(() => (this.#drawingMs += SMOOTHING * (performance.now() - started - this.#drawingMs)));
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
    // New rows above move the others down. Scroll by the same height, so that the visible rows stay.
    if (arrived > 0 && this.#grid.scrollTop > height / 2) this.#grid.scrollTop += arrived * height;

    const first = Math.max(0, Math.min(length - 1, Math.floor(this.#grid.scrollTop / height)) - OVERSCAN);
    const inSight = Math.ceil(this.#grid.clientHeight / height) + 2 * OVERSCAN;
    const count = Math.max(0, Math.min(inSight, length - first, MAX_ROWS_IN_DOM));
    const top = added - 1 - first;

    this.#freshFrom = this.#mayFade(arrived) ? added - arrived : Infinity;
    this.#fit(count);
    this.#rotate(top);
    this.#elements.forEach((element, index) => this.#fill(element, top - index));
    this.#body.style.transform = `translateY(${first * height}px)`;
    this.#grid.setAttribute("aria-rowcount", String(length + 1));
    if (this.#active >= 0 && this.#ring.at(this.#active) === undefined) this.#activate(-1);
  }

  // Whether the rows that arrived fade in: only a few rows at the top of the list do.
  #mayFade(arrived) {
    const time = performance.now();
    if (time - this.#fadesSince > FADE_MS) {
      this.#fadesSince = time;
      this.#fades = 0;
    }
    this.#fades += arrived;
    return arrived <= MOST_FRESH && this.#fades <= MOST_FADING && this.#grid.scrollTop < this.#rowHeight;
  }

  #fit(count) {
    while (this.#elements.length < count) {
      const element = newRow();
      this.#elements.push(element);
      this.#body.append(element);
    }
    while (this.#elements.length > count) this.#elements.pop().remove();
  }

  // Elements keep the rows that stay visible. Their text is not written again, so a selection in it is kept.
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
    element.classList.toggle("fresh", sequence >= this.#freshFrom);
    COLUMNS.forEach((column, index) => {
      const cell = element.children[index];
      writeIsolated(cell, column.text(row));
      if (column.title) cell.title = column.title(row);
      if (column.shape) cell.dataset.shape = column.shape(row);
      if (column.flag) cell.toggleAttribute("data-flag", column.flag(row));
    });
  }

  #clicked() {
    if (this.#pressed < 0 || !getSelection().isCollapsed) return; // a text selection does not open the row
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
    const from = this.#position();
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
    else this.#goNear(target);
    event.preventDefault();
  }

  #position() {
    if (this.#active >= 0) return this.#active;
    return this.#ring.added - Math.floor(this.#grid.scrollTop / this.#rowHeight); // above the first row in sight
  }

  #goNear(sequence) {
    const { added, overwritten } = this.#ring;
    if (added > overwritten) this.#goTo(Math.min(added - 1, Math.max(overwritten, sequence)));
  }

  #goTo(sequence) {
    const offset = (this.#ring.added - 1 - sequence) * this.#rowHeight;
    const head = this.#sizer.offsetTop; // the heading covers the top of the list
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

// Isolate direction controls: they must not affect text outside their cell or their parameter. They are rare, so a cell
// usually has one text node, which is reused.
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
