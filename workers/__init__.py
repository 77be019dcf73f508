"""Celery: the application, the drain and the periodic tasks. Run `celery -A workers worker`."""

from workers.app import app

__all__ = ["app"]
