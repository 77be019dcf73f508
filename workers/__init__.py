"""Celery: the application, the drain and what is done from time to time. Run `celery -A workers worker`."""

from workers.app import app

__all__ = ["app"]
