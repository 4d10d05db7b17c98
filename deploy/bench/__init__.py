"""Benches: each measures a part of the system and references in alternating rounds, and fails if an event is lost.

Machines differ, and their speed varies. So the result is the ratio of medians to a reference, not a single number.
"""
