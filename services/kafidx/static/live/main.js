// The live page: connect the socket, the list, the filters and the buttons, each of which has its own module.
import { copyText } from "../push/copy.js";
import { Activity } from "./activity.js";
import { pushView, sharedQuery, showHostNotice, viewOf } from "./address.js";
import { Announcer } from "./announcer.js";
import { Connection } from "./connection.js";
import { Detail } from "./detail.js";
import { EmptyState } from "./empty.js";
import { download } from "./export.js";
import { Filters } from "./filters.js";
import { EventList } from "./list.js";
import { installMenus } from "./menus.js";
import { Ring } from "./ring.js";
import { sessionName } from "./session.js";
import { installShortcuts } from "../push/shortcuts.js";
import { inWords, stateName, stateText, summaryText, write } from "./state.js";
import { Tally } from "./tally.js";
import { SavedViews } from "./views.js";

const KEPT_ROWS = 20_000; // about 10 MB of rows
const HELD_ROWS = 10_000; // while paused; above it the oldest rows are dropped and counted
const TOAST_MS = 4_000;

const find = (name) => document.querySelector(`[data-${name}]`);
const element = (id) => document.getElementById(id);

let shown = new Ring(KEPT_ROWS);
let held = new Ring(HELD_ROWS);
let tally = new Tally();
let connection = null;
let wasOpen = false; // a socket of this page was open
let view = new URLSearchParams();
let now = { socket: "connecting", paused: false, catchingUp: false, kafkaAway: false, lag: 0, rate: 0, retryAt: 0 };
let lastError = null;
let textFrame = 0;
let toastTimer = 0;
let startedSearch = null;

const list = new EventList({ grid: find("grid"), ring: shown, onOpen: (row) => detail.open(row) });
const detail = new Detail({ pane: find("detail"), onClose: () => list.focus() });
const filters = new Filters({ form: find("filters"), toggle: find("filter-toggle"), onApply: (query) => go(query) });
const activity = new Activity({ root: find("activity"), onType: (type) => go(filters.only(type)) });
const empty = new EmptyState({ loading: find("loading"), root: find("empty"), onOpen: (query) => go(viewOf(query)) });
const views = new SavedViews({
  dialog: element("views"),
  currentQuery: sharedQuery,
  onOpen: (query) => go(viewOf(query)),
});

// ---- events ----------------------------------------------------------------------------------------------

function take(rows) {
  tally.received(rows.length);
  if (now.paused) {
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

// ---- the view ---------------------------------------------------------------------------------------------

function go(query) {
  pushView(query);
  start();
}

function start({ reset = false } = {}) {
  startedSearch = location.search;
  view = viewOf(startedSearch);
  filters.show(view);
  connection?.close();
  clearRows();
  tally = new Tally();
  setPaused(false);
  clearError();
  const query = new URLSearchParams(view);
  query.set("gid", sessionName(query));
  if (!query.has("from")) query.set("from", "end");
  if (reset) {
    query.set("from", "beginning");
    query.set("reset", "1");
  }
  now.kafkaAway = false;
  now.catchingUp = query.get("from") !== "end";
  connection = new Connection(query, {
    onState: changeState,
    onHello: () => {
      wasOpen = true;
      showHostNotice(find("host-notice"), false);
      filters.clearError();
      clearError();
    },
    onRows: take,
    onStats: takeStats,
    onCaughtUp: () => {
      now.catchingUp = false;
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
  now.lag = Object.values(frame.lag ?? {}).reduce((sum, behind) => sum + behind, 0);
  now.rate = frame.rate ?? 0;
  now.kafkaAway = frame.away;
  activity.update(frame);
  showTexts();
}

function changeState(next, detailOfState) {
  now.socket = next;
  now.retryAt = next === "waiting" ? performance.now() + detailOfState : 0;
  if (next === "waiting") showHostNotice(find("host-notice"), !wasOpen);
  if (next === "refused" && lastError === null) showError({ parameter: "", reason: detailOfState || "refused" });
  showTexts();
}

function showError(error) {
  if (error.parameter) filters.showError(error);
  else write(find("notice"), error.reason); // the error is not in a filter
}

function clearError() {
  write(find("notice"), "");
  lastError = null;
}

// ---- commands ---------------------------------------------------------------------------------------------------

function setPaused(on) {
  now.paused = on;
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

function toast(text) {
  clearTimeout(toastTimer);
  find("toast").textContent = text;
  find("toast").hidden = false;
  toastTimer = setTimeout(() => (find("toast").hidden = true), TOAST_MS);
}

const commands = {
  pause: () => now.socket !== "refused" && setPaused(!now.paused),
  clear,
  csv: () => download(shown.toArray(), "csv"),
  ndjson: () => download(shown.toArray(), "ndjson"),
  restart: () => element("restart").showModal(),
  reconnect: () => {
    connection.close();
    connection.open();
  },
  newest: () => {
    list.toNewest();
    list.focus();
  },
  filters: () => filters.toggle(),
  views: () => views.open(),
  help: () => element("help").showModal(),
  share: async () => toast((await copyText(location.href)) ? "Link to this view copied." : location.href),
};

// ---- the status line ----------------------------------------------------------------------------------------------

function showTexts() {
  if (textFrame === 0) textFrame = requestAnimationFrame(writeTexts);
}

function writeTexts() {
  cancelAnimationFrame(textFrame);
  textFrame = 0;
  for (const name of ["seen", "matched", "shown", "dropped", "missed"]) write(find(name), inWords(tally[name]));
  for (const name of ["dropped", "missed"]) find(name).parentElement.hidden = tally[name] === 0;
  write(find("lag"), inWords(now.lag));
  const lost = held.overwritten ? `, ${inWords(held.overwritten)} dropped` : "";
  write(find("held"), now.paused ? `${inWords(held.length)} new${lost}` : "");
  const state = stateName(now);
  write(find("state"), stateText(now));
  find("state").dataset.state = state;
  find("reconnect").hidden = state !== "waiting";
  find("pause").hidden = state === "refused";
  empty.update({ rows: shown.length, state, query: view, wasCleared: tally.shown > 0 });
}

// ---- start --------------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-command]")) {
  button.addEventListener("click", () => commands[button.dataset.command]());
}
element("restart").addEventListener("close", () => {
  if (element("restart").returnValue === "restart") start({ reset: true });
  element("restart").returnValue = ""; // Escape leaves the value of the time before
});
installMenus(document.querySelectorAll("[data-menu]"));
installShortcuts(
  {
    j: () => list.move(1),
    k: () => list.move(-1),
    p: commands.pause,
    " ": commands.pause,
    c: commands.clear,
    "/": () => filters.focusText(),
    f: commands.filters,
    n: commands.newest,
    l: () => list.focus(),
    e: commands.csv,
    x: commands.ndjson,
    s: commands.share,
    v: commands.views,
    "?": commands.help,
    Escape: () => detail.close(),
  },
  find("shortcut-switch"),
);
addEventListener("popstate", () => {
  if (location.search !== startedSearch) start(); // a link within the page does not change the view
});
setInterval(() => now.socket === "waiting" && showTexts(), 1_000);
new Announcer(find("live-region"), () => summaryText(now, tally, held.length));

const serverError = find("server-error");
if (serverError) {
  startedSearch = location.search;
  view = viewOf(startedSearch);
  // The server has refused this query already. A socket would get the same error.
  filters.show(view);
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
