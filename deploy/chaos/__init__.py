"""Chaos: the real system under load, hurt at random from a seed, and its books checked afterwards.

`load` sends and remembers what was answered 2xx, `faults` hurt a `system`, `relay`, `clock` and `disk` are what they
hurt with, `verify` looks for every answered id in Kafka and reads the books; `run` does all of it. `rolling`, `away`
and `durability` measure one thing each.
"""
