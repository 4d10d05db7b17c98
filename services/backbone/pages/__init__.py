"""Pages of all services: their look, their guards and their assets. Workers never import this package."""
