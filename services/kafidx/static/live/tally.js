// The sums of the status line over all sockets of a view. The server counts from 0 for each socket.
const ZERO = Object.freeze({ seen: 0, matched: 0, dropped: 0, missed: 0 });

export class Tally {
  #earlier = ZERO;
  #current = ZERO;
  #receivedNow = 0;

  /** Rows that reached the list. */
  shown = 0;
  /** Rows that the page itself gave up because it was paused for too long. */
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

  /** Offsets that the topic no longer held when they were wanted: a gap that nobody can fill. */
  get missed() {
    return this.#sums().missed;
  }

  #sums() {
    // Rows come faster than the stats of each second: what has come has been seen and has matched.
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
