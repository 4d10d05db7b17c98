"""The rules of the imageserver: names, limits, refusals, and how a representation is chosen. No I/O."""
