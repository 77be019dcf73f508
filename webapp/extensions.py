"""What the application holds open, for the views."""

from flask import current_app

from models.connections import Connections


def connections() -> Connections:
    """This process's connections, opened by create_app."""
    return current_app.extensions["connections"]
