"""notificationserver: decides who is notified, in which words, when, and through which provider.

Reads: registrations, matches, free texts and chat webhooks by HTTP; its collections in MongoDB; windows in Redis.
Writes: the same collections and windows; messages to callbacks, Web Push and OneSignal; `mtf` and `chm` events.
Promise: a notification that got a 2xx is delivered at least once under one id, or is in the dead list with its reason.
"""
