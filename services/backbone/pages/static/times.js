// Readable times. Cells show UTC, so that all readers see the same text. A tooltip shows local time.
const local = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** `12:34:56.789` in UTC from ms since 1970, or a dash for an invalid time. */
export function clockUtc(ms) {
  return isTime(ms) ? new Date(ms).toISOString().slice(11, 23) : "–";
}

/** `2026-01-31T12:00:00.000Z` from ms since 1970, or a dash for an invalid time. */
export function isoTime(ms) {
  return isTime(ms) ? new Date(ms).toISOString() : "–";
}

export function localTime(ms) {
  return isTime(ms) ? local.format(ms) : "";
}

/** `3 s ago`: rounded down and never negative, since clocks differ a little. */
export function ago(ms, nowMs) {
  const seconds = Math.max(0, Math.floor((nowMs - ms) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** Write the text of each `<time data-ms>` below `root`, with local time as the tooltip. */
export function writeTimes(root, nowMs) {
  for (const element of root.querySelectorAll("time[data-ms]")) {
    const ms = Number(element.dataset.ms);
    element.textContent =
      element.dataset.style === "ago" ? ago(ms, nowMs) : isoTime(ms).replace("T", " ").replace("Z", " UTC");
    element.title = localTime(ms);
  }
}

function isTime(ms) {
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15; // the range of a Date
}
