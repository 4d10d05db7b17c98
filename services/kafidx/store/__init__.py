"""Access to Kafka and Redis: topics and their subscribers, dead letters, end offsets and counters. Read only."""
