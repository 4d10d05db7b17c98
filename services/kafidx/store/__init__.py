"""What kafidx reads: the topic's live end and its past, dead letters, and the counters. It writes nothing anywhere."""
