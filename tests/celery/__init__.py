"""Celery's lists, against real brokers and real workers that are killed."""
