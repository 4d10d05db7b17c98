"""Push on a Docker engine: build and push the images of the catalog, and start and stop its containers."""
