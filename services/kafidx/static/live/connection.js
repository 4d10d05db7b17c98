// One viewing session over as many sockets as it takes: reconnects with backoff, and continues where it stopped.
import { Positions } from "./positions.js";

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
// The server sends a stats frame every second: this much silence means a connection that died without saying so.
const SILENCE_MS = 10_000;
const BAD_QUERY = 4400;

export class Connection {
  #query;
  #handlers;
  #positions = new Positions();
  #socket = null;
  #failures = 0;
  #retryTimer = 0;
  #silenceTimer = 0;

  /**
   * `query` is the view's URLSearchParams with `gid` and `from`. `handlers`: onRows(rows), onStats(frame), onHello(frame),
   * onCaughtUp(), onError(frame), onLost(): a socket that had been open is gone, onState(state, detail) with state one of
   * connecting, open, waiting (detail: ms until the next attempt) and refused.
   */
  constructor(query, handlers) {
    this.#query = query;
    this.#handlers = handlers;
  }

  open() {
    clearTimeout(this.#retryTimer);
    this.#handlers.onState("connecting");
    const socket = new WebSocket(this.#url());
    this.#socket = socket;
    // A socket that was replaced may still deliver: only the current one is listened to.
    const ifCurrent = (handle) => (event) => socket === this.#socket && handle(event);
    socket.addEventListener(
      "message",
      ifCurrent((event) => this.#receive(JSON.parse(event.data))),
    );
    socket.addEventListener(
      "close",
      ifCurrent((event) => this.#lost(event)),
    );
    this.#watchSilence();
  }

  close() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #url() {
    const query = new URLSearchParams(this.#query);
    const from = this.#positions.toQuery();
    if (from !== null) {
      query.set("from", from);
      query.delete("reset");
    }
    const url = new URL("/kafidx/socket", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.search = query.toString();
    return url;
  }

  #receive(frame) {
    this.#watchSilence();
    switch (frame.kind) {
      case "hello":
        this.#failures = 0;
        this.#positions.advance(frame.positions);
        this.#handlers.onState("open");
        this.#handlers.onHello(frame);
        break;
      case "rows":
        this.#handlers.onRows(frame.rows.filter((row) => this.#positions.accept(row)));
        break;
      case "stats":
        this.#positions.advance(frame.positions);
        this.#handlers.onStats(frame);
        break;
      case "caught_up":
        this.#handlers.onCaughtUp();
        break;
      case "error":
        this.#handlers.onError(frame);
        break;
      default: // a later server may say more
    }
  }

  #lost(event) {
    this.#socket = null;
    clearTimeout(this.#silenceTimer);
    this.#handlers.onLost();
    if (event.code === BAD_QUERY) {
      this.#handlers.onState("refused", event.reason);
      return;
    }
    const longest = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    // Jitter: after a restart of the server its watchers do not all come back in the same moment.
    const delay = Math.round(longest * (0.5 + Math.random() / 2));
    this.#failures += 1;
    this.#handlers.onState("waiting", delay);
    this.#retryTimer = setTimeout(() => this.open(), delay);
  }

  #watchSilence() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => {
      const socket = this.#socket;
      if (socket === null) return;
      socket.close();
      this.#lost({ code: 0 }); // not waiting for the close handshake of a peer that may be gone
    }, SILENCE_MS);
  }
}
