"""Rules of kafidx without I/O: queries, filters, start positions, the state of live views, and tables."""
