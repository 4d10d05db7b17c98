// Saved views: names for queries of this page, kept in this browser. Names are always written as text.
const VIEWS_KEY = "push-kafidx-views";
const MOST_VIEWS = 50;
const NAME_LENGTH = 60;
const EXAMPLES = [
  { name: "Dead letters", query: "topic=events.dead&from=last:100" },
  { name: "Without bots", query: "bot=no" },
];

export class SavedViews {
  #dialog;
  #hint;
  #list;
  #form;
  #name;
  #query;
  #status;
  #currentQuery;
  #onOpen;

  /** `currentQuery()` returns the query of the view on the page. `onOpen(query)` shows another one. */
  constructor({ dialog, currentQuery, onOpen }) {
    this.#dialog = dialog;
    this.#hint = dialog.querySelector("[data-views-hint]");
    this.#list = dialog.querySelector("[data-view-list]");
    this.#form = dialog.querySelector("[data-view-form]");
    this.#name = this.#form.querySelector("input");
    this.#query = dialog.querySelector("[data-view-query]");
    this.#status = dialog.querySelector("[data-view-status]");
    this.#currentQuery = currentQuery;
    this.#onOpen = onOpen;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save(this.#name.value.trim().slice(0, NAME_LENGTH));
    });
  }

  open() {
    const query = this.#currentQuery();
    this.#query.textContent = query ? `?${query}` : "all events, now on";
    this.#name.value = "";
    this.#report("");
    this.#draw();
    this.#dialog.showModal();
  }

  #draw() {
    const views = readViews();
    const isEmpty = !views?.length;
    this.#hint.textContent = hintFor(views);
    for (const control of this.#form.elements) control.disabled = views === null;
    this.#list.replaceChildren(...(isEmpty ? EXAMPLES : views).map((view) => this.#item(view, !isEmpty)));
  }

  #item(view, isSaved) {
    const item = document.createElement("li");
    const link = document.createElement("a");
    const name = document.createElement("bdi"); // direction controls in a name must not affect the query beside it
    name.textContent = view.name;
    link.href = `?${view.query}`;
    link.title = `?${view.query}`;
    link.append(name);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // opens another tab
      event.preventDefault();
      this.#dialog.close();
      this.#onOpen(view.query);
    });
    item.append(link);
    if (isSaved) item.append(this.#removeButton(view.name));
    return item;
  }

  #removeButton(name) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet-button";
    button.textContent = "Remove";
    button.setAttribute("aria-label", `Remove ${name}`);
    button.addEventListener("click", () => {
      const views = readViews() ?? [];
      const kept = views.filter((view) => view.name !== name);
      this.#report(writeViews(kept) ? `Removed: ${name}` : "This browser did not remove the view.");
      this.#draw();
      this.#name.focus();
    });
    return button;
  }

  #save(name) {
    if (!name) return this.#report("Enter a name for the view.", true);
    const views = readViews();
    if (views === null) return this.#draw();
    const others = views.filter((view) => view.name !== name);
    if (others.length >= MOST_VIEWS) return this.#report(`${MOST_VIEWS} views are saved. Remove one first.`, true);
    const isStored = writeViews([...others, { name, query: this.#currentQuery() }]);
    this.#report(isStored ? `Saved: ${name}` : "This browser did not store the view.", !isStored);
    if (isStored) this.#name.value = "";
    this.#draw();
  }

  #report(text, isBad = false) {
    this.#status.textContent = text;
    this.#status.className = isBad ? "bad" : "good";
  }
}

function hintFor(views) {
  if (views === null) return "This browser stores no data for this page, so views cannot be saved. Two examples:";
  return views.length === 0 ? "No view is saved yet. Two examples:" : "Saved in this browser only.";
}

/** The saved views, or null when the storage is disabled. Entries of another form are left out. */
function readViews() {
  let text;
  try {
    text = localStorage.getItem(VIEWS_KEY);
  } catch {
    return null;
  }
  try {
    const views = JSON.parse(text ?? "[]");
    return views.filter((view) => typeof view?.name === "string" && typeof view.query === "string").slice(0, MOST_VIEWS);
  } catch {
    return []; // another program wrote this entry
  }
}

function writeViews(views) {
  try {
    localStorage.setItem(VIEWS_KEY, JSON.stringify(views));
    return true;
  } catch {
    return false; // disabled or full
  }
}
