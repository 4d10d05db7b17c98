"""Tasks for a running system: its status, dead letters, erasure of a device, sending an access log."""
