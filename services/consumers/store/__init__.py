"""The Redis of the actions.

`actions` holds what is known of each action, `celery_queues` sends actions to the workers, and `rate_limits` counts the
requests to providers.

Redis holds nothing that Kafka does not: when it is emptied, the consumers send their unfinished actions again. It then
loses the dead list, the retries that operators have asked for, and the ids of finished actions.
"""
