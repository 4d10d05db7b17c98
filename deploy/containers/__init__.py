"""Push on a Docker engine: images are built and pushed, and the compose files brought up and down, by the catalog."""
