"""offerserver: imports offers from outside sources on schedules.

Reads: the feeds of the sources, and the offers of their owners in storage. Writes: offers to storage, images to the
imageserver; locks, runs and absences in its Redis.
Promise: An unchanged feed writes nothing. Only a trusted run removes offers, and never two runs of one importer write
at a time. A run that is killed anywhere and repeated has the effect of one.
"""
