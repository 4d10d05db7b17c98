"""The rules of kafkastore, pure: what an address becomes, what a user agent is, what becomes of an entry."""
