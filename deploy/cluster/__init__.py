"""Push on Kubernetes: builds overlays, applies them, waits for what comes of it, and keeps the secrets.

Named so, and not `kubernetes`, because that is the client library's name.
"""
