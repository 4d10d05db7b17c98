"""Benches: each measures a part of the system beside references in the same run, in turns, and fails if it loses one.

Machines differ and drift, so what counts is the ratio of medians to a reference, not a figure alone.
"""
