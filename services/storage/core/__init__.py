"""The rules of storage, without I/O and without a clock: times and random numbers are arguments.

- `sphere`: points and distances; `radii`: radius classes and the discs that a subject queries
- `keys`: normalised keywords and words
- `objects`: the model of an offer or a search, and its changes; `documents`: its form in MongoDB
- `matching`: the rule that decides a pair; `pairs`: the state of a pair, and the changes that a decision makes
- `movement`: location fixes of moving objects, and when a moved object leaves
"""
