// The next offset of each partition. A reconnect continues there without a gap and without a repeat.
export class Positions {
  #next = new Map();

  /** Return whether the row is new. Offsets increase within a partition. */
  accept(row) {
    const next = this.#next.get(row.p);
    if (next !== undefined && row.o < next) return false;
    this.#next.set(row.p, row.o + 1);
    return true;
  }

  /** Take the server's positions. In a partition without matching events there are no rows with offsets. */
  advance(positions) {
    for (const [partition, next] of Object.entries(positions ?? {})) {
      const known = this.#next.get(Number(partition));
      if (known === undefined || next > known) this.#next.set(Number(partition), next);
    }
  }

  /** Return the `from` of a query that continues here, or null when no position is known. */
  toQuery() {
    if (this.#next.size === 0) return null;
    const pairs = [...this.#next].sort(([a], [b]) => a - b).map(([partition, next]) => `${partition}:${next}`);
    return `offset:${pairs.join(",")}`;
  }
}
