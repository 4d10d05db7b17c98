"""The Redis of the actions.

`actions` holds what is known of each action, `celery_queues` sends actions to the workers, and `rate_limits` counts the
requests to providers.

Kafka has each unfinished event: when Redis is emptied, the consumers send the actions again. The section Failures of
actions.md lists what is lost then.
"""
