"""Chaos: a real system under load with random faults from a seed. Afterwards its ledger is checked.

`load` sends requests and remembers the acknowledged events. `faults` break a `system` through the relay of the local
stack, `clock` and `disk`. `verify` looks for every acknowledged event in Kafka and reads the ledger. `run` does all of
it. `durability` compares how the candidate stores for events survive a kill and a power cut.
"""
