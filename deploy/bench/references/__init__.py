"""What benches measure against: the ceiling, and what one would write first. Each is a process (`first.py`)."""
