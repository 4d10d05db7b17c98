// Announce the state to screen readers in one sentence, at most every five seconds.
const INTERVAL_MS = 5_000;

export class Announcer {
  #region;
  #summary;
  #last = "";

  constructor(region, summary) {
    this.#region = region;
    this.#summary = summary;
    setInterval(() => this.#announce(), INTERVAL_MS);
  }

  #announce() {
    const sentence = this.#summary();
    if (sentence === this.#last) return; // no change, no announcement
    this.#last = sentence;
    this.#region.textContent = sentence;
  }
}
