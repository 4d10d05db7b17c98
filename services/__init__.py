"""The services of Push: one directory, one container. Start with services/README.md."""
