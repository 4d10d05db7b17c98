"""The providers on the internet that actions call: `chat` sends replies, `geonames` looks places up.

They raise the errors of `backbone.clients`, as storage does. A provider that is over its rate limit is unavailable
until there is room again (`RequestLimit`).
"""
