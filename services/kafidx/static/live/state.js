// The state of the page in one word (for style sheets) and in words (for people).
const STATUS = { connecting: "Connecting", waiting: "Reconnecting", refused: "Refused" };

export function inWords(count) {
  return count.toLocaleString("en");
}

/** One of connecting, waiting, refused, away, paused, catching-up and open. */
export function stateName({ socket, kafkaAway, paused, catchingUp }) {
  if (socket !== "open") return socket;
  if (kafkaAway) return "away";
  if (paused) return "paused";
  return catchingUp ? "catching-up" : "open";
}

export function stateText(now) {
  switch (stateName(now)) {
    case "waiting":
      return `Reconnecting in ${Math.max(0, Math.ceil((now.retryAt - performance.now()) / 1000))} s`;
    case "away":
      return "Kafka is away";
    case "paused":
      return "Paused";
    case "catching-up":
      return "Catching up";
    case "open":
      return "Live";
    default:
      return STATUS[now.socket];
  }
}

/** One sentence for screen readers. */
export function summaryText(now, tally, held) {
  const sums = `${inWords(tally.matched)} matched of ${inWords(tally.seen)} seen, ${inWords(tally.dropped)} dropped`;
  const waiting = now.paused ? `, ${inWords(held)} held` : "";
  return `${stateText(now).replace(/ in \d+ s/, "")}. ${sums}${waiting}, ${Math.round(now.rate)} a second.`;
}

/** Write a text, unless it is there already: this avoids a new layout. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
