"""The kafkastore process: one drain per Redis server, one producer for all of them."""
