"""Takes tracking requests from anyone by HTTP and stores each as one event.

Reads: HTTP on TRACKER_PORT. Writes: the Redis list of raw events and its ledger; a spool on disk.
Promise: after a 2xx answer Redis, or the disk while Redis is away, has the event; a malformed request is never a 5xx.
"""
