// One viewing session over several sockets: reconnect with backoff and continue at the same positions.
import { Positions } from "./positions.js";

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
// The server sends a stats frame every second. After so much time without a frame the connection is considered lost.
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
   * onCaughtUp(), onError(frame), onLost(): the socket has closed, onState(state, detail) with state one of
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
    // A replaced socket may still deliver messages. Only the messages of the current one are used.
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
      default: // a newer server may send other kinds
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
    // Jitter: after a restart of the server the subscribers do not all reconnect at the same moment.
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
      this.#lost({ code: 0 }); // do not wait for the close handshake: the peer may be gone
    }, SILENCE_MS);
  }
}
