"""mongosetup: a job that creates the replica set of MongoDB and ends; the services that use MongoDB wait for it.

Reads: the state of each member. Writes: the configuration of the replica set, if no member has one.
Promise: exit code 0 only if the replica set has a primary. An existing replica set is never changed; one WARNING lists
its differences from the settings.
"""
