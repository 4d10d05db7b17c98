// Tells a screen reader what goes on, in one sentence, and not more often than every five seconds.
const INTERVAL_MS = 5_000;

export class Announcer {
  #region;
  #summary;
  #last = "";

  constructor(region, summary) {
    this.#region = region;
    this.#summary = summary;
    setInterval(() => this.#speak(), INTERVAL_MS);
  }

  #speak() {
    const sentence = this.#summary();
    if (sentence === this.#last) return; // nothing new: silence
    this.#last = sentence;
    this.#region.textContent = sentence;
  }
}
