"""The kafkastore process: one drain a Redis server, one producer for all of them."""
