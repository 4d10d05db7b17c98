"""Push on a Docker engine: build and push images, start and stop the compose files, both from the catalog."""
