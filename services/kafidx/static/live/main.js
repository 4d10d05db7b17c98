// The live page: connect the socket, the list, the filters and the buttons, each of which has its own module.
import { copyText } from "../push/copy.js";
import { Activity } from "./activity.js";
import { Announcer } from "./announcer.js";
import { Connection } from "./connection.js";
import { Detail } from "./detail.js";
import { download } from "./export.js";
import { Filters, FILTER_NAMES } from "./filters.js";
import { EventList } from "./list.js";
import { Ring } from "./ring.js";
import { sessionName } from "./session.js";
import { installShortcuts } from "./shortcuts.js";
import { Tally } from "./tally.js";

const KEPT_ROWS = 20_000; // about 10 MB of rows
const HELD_ROWS = 10_000; // while paused; above it the oldest rows are dropped and counted
const STATUS = { connecting: "Connecting", open: "Live", waiting: "Reconnecting", refused: "Refused" };

const find = (name) => document.querySelector(`[data-${name}]`);
const inWords = (count) => count.toLocaleString("en");

let shown = new Ring(KEPT_ROWS);
let held = new Ring(HELD_ROWS);
let tally = new Tally();
let connection = null;
let paused = false;
let state = "connecting";
let catchingUp = false;
let kafkaAway = false;
let lag = 0;
let rate = 0;
let lastError = null;
let retryAt = 0;
let textFrame = 0;
let startedSearch = null;

const list = new EventList({ grid: find("grid"), ring: shown, onOpen: (row) => detail.open(row) });
const detail = new Detail({ pane: find("detail"), onClose: () => list.focus() });
const filters = new Filters({ form: find("filters"), onApply: (query) => go(query) });
const activity = new Activity({ root: find("activity"), onType: (type) => go(filters.only(type)) });
const help = find("help");

// ---- events ----------------------------------------------------------------------------------------------

function take(rows) {
  tally.received(rows.length);
  if (paused) {
    const before = held.overwritten;
    for (const row of rows) held.push(row);
    tally.droppedHere += held.overwritten - before;
  } else {
    append(rows);
  }
  showTexts();
}

function append(rows) {
  for (const row of rows) shown.push(row);
  tally.shown += rows.length;
  list.added();
}

// ---- the view and its URL -------------------------------------------------------------------------------------

function viewOf(search) {
  const query = new URLSearchParams(search);
  for (const name of [...query.keys()]) if (!FILTER_NAMES.includes(name) && name !== "gid") query.delete(name);
  return query;
}

function go(query) {
  const gid = new URLSearchParams(location.search).get("gid");
  if (gid) query.set("gid", gid);
  const search = query.toString();
  history.pushState(null, "", search ? `?${readable(search)}` : location.pathname);
  start();
}

// Keep links readable: these characters need no escape in a query.
function readable(search) {
  return search.replaceAll("%2C", ",").replaceAll("%3A", ":");
}

function start({ reset = false } = {}) {
  startedSearch = location.search;
  const query = viewOf(startedSearch);
  filters.show(query);
  connection?.close();
  clearRows();
  tally = new Tally();
  setPaused(false);
  if (lastError) write(find("notice"), "");
  lastError = null;
  kafkaAway = false;
  query.set("gid", sessionName(query));
  if (!query.has("from")) query.set("from", "end");
  if (reset) {
    query.set("from", "beginning");
    query.set("reset", "1");
  }
  catchingUp = query.get("from") !== "end";
  connection = new Connection(query, {
    onState: changeState,
    onHello: () => {
      filters.clearError();
      if (lastError) write(find("notice"), "");
      lastError = null;
    },
    onRows: take,
    onStats: takeStats,
    onCaughtUp: () => {
      catchingUp = false;
      showTexts();
    },
    onError: (frame) => {
      lastError = frame;
      showError(frame);
    },
    onLost: () => tally.socketLost(),
  });
  connection.open();
}

function takeStats(frame) {
  tally.stats(frame);
  lag = Object.values(frame.lag ?? {}).reduce((sum, behind) => sum + behind, 0);
  rate = frame.rate ?? 0;
  kafkaAway = frame.away;
  activity.update(frame);
  showTexts();
}

function changeState(next, detailOfState) {
  state = next;
  retryAt = next === "waiting" ? performance.now() + detailOfState : 0;
  if (next === "refused" && lastError === null) showError({ parameter: "", reason: detailOfState || "refused" });
  showTexts();
}

function showError(error) {
  if (error.parameter) {
    find("filter-panel").open = true;
    filters.showError(error);
  } else {
    write(find("notice"), error.reason); // the error is not in a filter
  }
}

// ---- commands ---------------------------------------------------------------------------------------------------

function setPaused(on) {
  paused = on;
  find("pause").textContent = on ? "Resume" : "Pause";
  find("pause").setAttribute("aria-pressed", String(on));
  if (!on && held.length > 0) append(held.toArray());
  held = new Ring(HELD_ROWS);
  writeTexts(); // at once, not with the next frame, since a key was pressed
}

function clearRows() {
  shown = new Ring(KEPT_ROWS);
  held = new Ring(HELD_ROWS);
  list.show(shown);
}

function clear() {
  shown = new Ring(KEPT_ROWS);
  list.show(shown);
  showTexts();
}

const commands = {
  pause: () => setPaused(!paused),
  clear,
  csv: () => download(shown.toArray(), "csv"),
  ndjson: () => download(shown.toArray(), "ndjson"),
  reset: () => start({ reset: true }),
  reconnect: () => {
    connection.close();
    connection.open();
  },
  newest: () => {
    list.toNewest();
    list.focus();
  },
  help: () => help.showModal(),
  share: async () => {
    const copied = await copyText(location.href);
    find("notice").textContent = copied ? "Link to this view copied." : location.href;
    setTimeout(() => (find("notice").textContent = ""), 4_000);
  },
};

// ---- the status line ----------------------------------------------------------------------------------------------

function showTexts() {
  if (textFrame === 0) textFrame = requestAnimationFrame(writeTexts);
}

function writeTexts() {
  cancelAnimationFrame(textFrame);
  textFrame = 0;
  for (const name of ["seen", "matched", "shown", "dropped", "missed"]) write(find(name), inWords(tally[name]));
  find("dropped").toggleAttribute("data-flag", tally.dropped > 0);
  find("missed").parentElement.hidden = tally.missed === 0;
  write(find("lag"), inWords(lag));
  write(find("held"), paused ? `${inWords(held.length)} new, ${inWords(held.overwritten)} dropped` : "");
  write(find("state"), stateText());
  find("state").dataset.state = state === "open" ? openState() : state;
  find("reconnect").hidden = state !== "waiting";
}

function openState() {
  if (kafkaAway) return "away";
  if (paused) return "paused";
  return catchingUp ? "catching-up" : "open";
}

function stateText() {
  if (state === "waiting") return `Reconnecting in ${Math.max(0, Math.ceil((retryAt - performance.now()) / 1000))} s`;
  if (state !== "open") return STATUS[state];
  if (kafkaAway) return "Kafka does not respond";
  if (paused) return "Paused";
  return catchingUp ? "Catching up" : "Live";
}

// Unchanged text is not written, which avoids a new layout.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function summary() {
  const sums = `${inWords(tally.matched)} matched of ${inWords(tally.seen)} seen, ${inWords(tally.dropped)} dropped`;
  const waiting = paused ? `, ${inWords(held.length)} held` : "";
  return `${stateText().replace(/ in \d+ s/, "")}. ${sums}${waiting}, ${Math.round(rate)} a second.`;
}

// ---- start --------------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-command]")) {
  button.addEventListener("click", () => commands[button.dataset.command]());
}
installShortcuts(
  {
    p: commands.pause,
    " ": commands.pause,
    c: commands.clear,
    "/": () => {
      find("filter-panel").open = true;
      filters.focusText();
    },
    f: () => (find("filter-panel").open = !find("filter-panel").open),
    n: commands.newest,
    l: () => list.focus(),
    e: commands.csv,
    j: commands.ndjson,
    s: commands.share,
    "?": commands.help,
    Escape: () => detail.close(),
  },
  find("shortcut-switch"),
);
addEventListener("popstate", () => {
  if (location.search !== startedSearch) start(); // a link within the page does not change the view
});
setInterval(() => state === "waiting" && showTexts(), 1_000);
new Announcer(find("live-region"), summary);

// Wide screens have room for the filters; on narrow ones the events come first.
find("filter-panel").open = matchMedia("(min-width: 60rem)").matches;
const serverError = find("server-error");
if (serverError) {
  startedSearch = location.search;
  // The server has refused this query already. A socket would get the same error.
  filters.show(viewOf(location.search));
  lastError = {
    parameter: serverError.dataset.parameter,
    position: serverError.dataset.position === "" ? null : Number(serverError.dataset.position),
    reason: serverError.dataset.reason,
    value: serverError.dataset.value || null,
  };
  serverError.remove();
  changeState("refused");
  showError(lastError);
} else {
  start();
}
