"""Celery's queues, for Flower. `python3 tasks.py derived.write` writes this file from deploy/catalog.toml."""

from kombu import Queue

task_default_queue = "actions.geo_updates"
task_queues = [
    Queue("actions.geo_updates"),
    Queue("actions.match_notifier"),
    Queue("actions.bulk_data"),
    Queue("actions.chatbot"),
    Queue("actions.geonames"),
]
