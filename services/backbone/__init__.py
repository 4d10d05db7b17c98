"""What all services must agree on; not a service.

Reads: nothing by itself. Writes: nothing by itself.
Promise: a module is here only if two services break when they disagree on it, or if every service must
start, log, report health and stop alike, or looks and guards its pages alike. It knows no service's business.
"""
