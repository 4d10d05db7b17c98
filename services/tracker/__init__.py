"""Receives tracking requests over HTTP and stores each of them as one event.

Reads: HTTP on TRACKER_PORT. Writes: the Redis list of raw events and its ledger; a spool on disk.
Promise: 2xx means that the event is in Redis, or on disk while Redis is down. A malformed request never gets a 5xx.
"""
