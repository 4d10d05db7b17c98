"""What benches measure against: the ceiling, and what one would write first. Run as processes, never imported."""
