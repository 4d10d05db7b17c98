"""The whole system on one machine, with synthetic visitors or a replayed access log."""
