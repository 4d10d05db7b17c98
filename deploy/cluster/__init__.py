"""Push on Kubernetes: build overlays, apply them, wait until they are ready, and load secrets.

Not named `kubernetes`, which is the name of the client library.
"""
