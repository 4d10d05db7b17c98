"""storage: the store of offers and searches at locations, and their matching.

Reads: the collections `offers`, `searches` and `pairs` in MongoDB.
Writes: the same collections; match notifications to the notificationserver, by HTTP.
Promise: reports each encounter of a matching pair at least once, under one id, also after a kill of any process.
"""
