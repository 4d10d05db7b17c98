"""The rules of kafkastore without I/O: masking of addresses, user agents, and the conversion of entries."""
