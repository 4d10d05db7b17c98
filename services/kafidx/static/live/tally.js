// The counts of the status line, over all sockets of a view. The server counts each socket from 0.
const ZERO = Object.freeze({ seen: 0, matched: 0, dropped: 0, missed: 0 });

export class Tally {
  #earlier = ZERO;
  #current = ZERO;
  #receivedNow = 0;

  /** Rows that reached the list. */
  shown = 0;
  /** Rows that the page dropped because it was paused for too long. */
  droppedHere = 0;

  received(rows) {
    this.#receivedNow += rows;
  }

  stats({ seen, matched, dropped, missed = 0 }) {
    this.#current = { seen, matched, dropped, missed };
  }

  socketLost() {
    this.#earlier = this.#sums();
    this.#current = ZERO;
    this.#receivedNow = 0;
  }

  get seen() {
    return this.#sums().seen;
  }

  get matched() {
    return this.#sums().matched;
  }

  get dropped() {
    return this.#sums().dropped + this.droppedHere;
  }

  /** Offsets that the topic no longer held when the view was to show them. */
  get missed() {
    return this.#sums().missed;
  }

  #sums() {
    // Rows arrive before the stats of their second, so count the rows that have arrived as seen and matched.
    const { dropped } = this.#current;
    const matched = Math.max(this.#current.matched, this.#receivedNow + dropped);
    return {
      seen: this.#earlier.seen + Math.max(this.#current.seen, matched),
      matched: this.#earlier.matched + matched,
      dropped: this.#earlier.dropped + dropped,
      missed: this.#earlier.missed + this.#current.missed,
    };
  }
}
