// A ring buffer of the last N items, oldest first. Adding takes O(1), so a burst causes no pause.
export class Ring {
  #slots;
  #added = 0;

  constructor(capacity) {
    this.capacity = capacity;
    this.#slots = [];
  }

  /** The number of items that were ever added, which is the sequence number of the next one. */
  get added() {
    return this.#added;
  }

  get length() {
    return this.#slots.length;
  }

  /** The number of items that newer ones have replaced. */
  get overwritten() {
    return this.#added - this.#slots.length;
  }

  push(item) {
    if (this.#slots.length < this.capacity) this.#slots.push(item);
    else this.#slots[this.#added % this.capacity] = item;
    this.#added += 1;
  }

  /** The item with this sequence number, or undefined when it was replaced or is not added yet. */
  at(sequence) {
    if (sequence < this.overwritten || sequence >= this.#added) return undefined;
    return this.#slots[sequence % this.capacity];
  }

  /** All items, oldest first. */
  toArray() {
    const items = [];
    for (let sequence = this.overwritten; sequence < this.#added; sequence += 1) items.push(this.at(sequence));
    return items;
  }
}
