"""What benches measure against: the ceiling, and what one would write first. A `first_*` is a process of its own."""
