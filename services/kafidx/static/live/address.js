// The view in the address of the page.
import { FILTER_NAMES } from "./filters.js";

/** The view of a query string: its filters and the session, without other parameters. */
export function viewOf(search) {
  const query = new URLSearchParams(search);
  for (const name of [...query.keys()]) if (!FILTER_NAMES.includes(name) && name !== "gid") query.delete(name);
  return query;
}

/** The query of the view on the page, without the session, which belongs to one reader. */
export function sharedQuery() {
  const query = viewOf(location.search);
  query.delete("gid");
  return readable(query);
}

/** Write the view into the address as a new step of the history. The session stays. */
export function pushView(query) {
  const gid = new URLSearchParams(location.search).get("gid");
  if (gid) query.set("gid", gid);
  const search = readable(query);
  history.pushState(null, "", search ? `?${search}` : location.pathname);
}

// Keep links readable: these characters need no escape in a query.
function readable(query) {
  return query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
}

/** Show the reason of a refused socket when a proxy has changed the Host header. kafidx compares it with the Origin. */
export function showHostNotice(notice, hasFailed) {
  const isChanged = notice.dataset.host.toLowerCase() !== location.host.toLowerCase();
  notice.querySelector("[data-browser-host]").textContent = location.host;
  notice.hidden = !hasFailed || !isChanged;
}
