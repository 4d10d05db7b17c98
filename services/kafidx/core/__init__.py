"""kafidx's rules, without I/O: what a view shows, where it begins, what waits for it, how tables are cut."""
