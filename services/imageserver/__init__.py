"""imageserver: keeps pictures in four fixed sizes, and serves them to everybody.

Reads: uploads by HTTP; its collections in MongoDB; the volume with the files, which all replicas share.
Writes: the same collections, and files that it has encoded itself. It never stores an uploaded byte.
Promise: an asset whose upload got a 2xx is served by every replica from then on until it is deleted.
"""
