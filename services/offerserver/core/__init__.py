"""The rules of an import. Pure: no I/O, no clock.

`importer` describes a source, `drafts` checks what its parser returns, `fingerprints` decides what is equal, `grades`
decides how far a run is trusted, and `changes` decides what is written.
"""
