"""The whole stack on one machine, for development and tests: `make up` runs `python -m devstack`.

Postgres and Redis are real servers with their data in one folder (ENERGY_HOME), unless DATABASE_URL and REDIS_URL
name others. supervisord starts all programs, restarts those that crash, and stops them in order.
"""


class StackError(Exception):
    """The stack cannot start or continue. The message is one line for the terminal."""
