"""The rules of the notificationserver. Pure: no I/O, no clock, no randomness.

- `notifications`: what others report: matches, chat messages and free texts
- `registrations`, `mappings`: a device, its channels and its preferences
- `planning`, `messages`, `texts`: from a notification to the messages of its recipients
- `quiet`: until when a device is not disturbed
- `retries`, `outcomes`: what follows from an attempt
- `signatures`, `web_push`, `one_signal`, `callbacks`: what providers receive
"""
