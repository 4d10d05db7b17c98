"""The references of benches: nginx as the upper bound, and simple implementations. Each is a process (`first.py`)."""
