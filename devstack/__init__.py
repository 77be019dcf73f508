"""The whole stack on one machine, for development and tests: `make up` runs `python -m devstack`.

Postgres and Redis are real servers with their data in one folder (ENERGY_HOME), started only where
DATABASE_URL and REDIS_URL do not name others. supervisord starts everything, keeps it running, and stops it
in order.
"""


class StackError(Exception):
    """The stack cannot start or go on; the message is one line for the person at the terminal."""
