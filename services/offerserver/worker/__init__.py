"""The processes of the schedule: beat, and the one beside a Celery worker."""
