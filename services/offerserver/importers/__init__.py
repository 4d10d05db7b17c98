"""The importers: a module for each named source and for each form of a feed.

A named source has its own module, because its rows need code. Every other source is a YAML file (`configured`), whose
rows come from the module of its form: `geojson`, `overpass`, `calendars`, `syndication`, `tables` or `structured_data`.
All of them are pure: documents in, drafts and rejections out.
"""
