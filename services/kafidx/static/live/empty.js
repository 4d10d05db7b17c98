// What the page shows instead of an empty list: placeholder rows while it loads, else the reason and one way on.
const SHOW_ALL = { text: "Show all", query: "" };
const SHOW_LAST = { text: "Show the last 100", query: "from=last:100" };
const BOTS = { no: "without bots", yes: "bots only" };
const UNFILTERED = ["topic", "from", "gid"];

export class EmptyState {
  #loading;
  #root;
  #text;
  #action;
  #query = "";

  /** `onOpen(query)` shows another view. */
  constructor({ loading, root, onOpen }) {
    this.#loading = loading;
    this.#root = root;
    this.#text = root.querySelector("[data-empty-text]");
    this.#action = root.querySelector("[data-empty-action]");
    this.#action.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // opens another tab
      event.preventDefault();
      onOpen(this.#query);
    });
  }

  /** `state` is the state of the page, `query` the view, `wasCleared` whether the list had rows before. */
  update({ rows, state, query, wasCleared }) {
    const isLoading = rows === 0 && (state === "connecting" || state === "catching-up");
    this.#loading.hidden = !isLoading;
    this.#root.hidden = rows > 0 || isLoading;
    if (this.#root.hidden) return;
    const { text, action } = reasonFor(state, query, wasCleared);
    if (this.#text.textContent !== text) this.#text.textContent = text;
    this.#action.hidden = !action;
    if (!action || this.#action.textContent === action.text) return;
    this.#query = action.query;
    this.#action.textContent = action.text;
    this.#action.href = action.query ? `?${action.query}` : location.pathname;
  }
}

function reasonFor(state, query, wasCleared) {
  if (state === "refused")
    return { text: "This query is not valid, so no events are read. Correct it in the filters.", action: SHOW_ALL };
  if (state === "waiting")
    return { text: "There is no live connection. This page connects again by itself." };
  if (state === "away") return { text: "Kafka does not respond. This view continues at the same event when it does." };
  if (state === "paused") return { text: "This view is paused. Events that arrive now are shown when you resume." };
  const filters = describe(query);
  if (wasCleared) return { text: "The list is cleared. New events appear here." };
  if (filters.length > 0) return { text: `No event matches yet: ${filters.join(" · ")}`, action: SHOW_ALL };
  const action = query.has("from") && query.get("from") !== "end" ? null : SHOW_LAST;
  return { text: "No events yet. New events appear here as they arrive.", action };
}

/** The filters of a query in words. */
function describe(query) {
  return [...query]
    .filter(([name, value]) => value !== "" && !UNFILTERED.includes(name))
    .map(([name, value]) => {
      if (name === "bot") return BOTS[value] ?? value;
      if (name === "where") return value;
      return `${name === "filter" ? "type" : name} ${value.replaceAll(",", " or ")}`;
    });
}
