// Where the view has come to in each partition: what makes a reconnect continue without a gap and without a repeat.
export class Positions {
  #next = new Map();

  /** True when the row is new; false for one that the view has had already. Offsets grow within a partition. */
  accept(row) {
    const next = this.#next.get(row.p);
    if (next !== undefined && row.o < next) return false;
    this.#next.set(row.p, row.o + 1);
    return true;
  }

  /** Take what the server says of partitions whose events all failed to match: no row could tell their offsets. */
  advance(positions) {
    for (const [partition, next] of Object.entries(positions ?? {})) {
      const known = this.#next.get(Number(partition));
      if (known === undefined || next > known) this.#next.set(Number(partition), next);
    }
  }

  /** The `from` of a query that continues here, or null when nothing is known yet. */
  toQuery() {
    if (this.#next.size === 0) return null;
    const pairs = [...this.#next].sort(([a], [b]) => a - b).map(([partition, next]) => `${partition}:${next}`);
    return `offset:${pairs.join(",")}`;
  }
}
