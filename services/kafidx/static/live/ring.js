// The last N things that were added, oldest first. Adding is O(1) whatever it holds, so that a burst costs no pause.
export class Ring {
  #slots;
  #added = 0;

  constructor(capacity) {
    this.capacity = capacity;
    this.#slots = [];
  }

  /** How many things were ever added: the sequence number that the next one gets. */
  get added() {
    return this.#added;
  }

  get length() {
    return this.#slots.length;
  }

  /** How many were pushed out by newer ones. */
  get overwritten() {
    return this.#added - this.#slots.length;
  }

  push(thing) {
    if (this.#slots.length < this.capacity) this.#slots.push(thing);
    else this.#slots[this.#added % this.capacity] = thing;
    this.#added += 1;
  }

  /** The thing with this sequence number, or undefined when it is not held (any more, or yet). */
  at(sequence) {
    if (sequence < this.overwritten || sequence >= this.#added) return undefined;
    return this.#slots[sequence % this.capacity];
  }

  /** All that is held, oldest first. */
  toArray() {
    const things = [];
    for (let sequence = this.overwritten; sequence < this.#added; sequence += 1) things.push(this.at(sequence));
    return things;
  }
}
