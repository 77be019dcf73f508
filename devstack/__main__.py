"""`python -m devstack`: start the stack, say where it is, keep it until Ctrl-C or SIGTERM."""

import os
import signal
import sys
import threading


def _stop(*_: object) -> None:
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, signal.SIG_IGN)  # once is enough: nothing may interrupt the stop
    raise SystemExit(0)


def main() -> int:
    """0 after a stop that was asked for, 2 for a wrong setting, 1 for what else prevents the start."""
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, _stop)

    # Only now: the imports take half a second, and a Ctrl-C in it is no reason for a traceback.
    from devstack import StackError, settings, stack
    from models.environment import SettingsError

    try:
        stack.run(settings.read())
    except SettingsError as error:
        print(f"devstack: {'; '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except (StackError, OSError) as error:
        print(f"devstack: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except SystemExit as stopped:
        status = stopped.code
    if threading.active_count() > 1:  # a terminal that takes no output would keep Python from ending, too
        os._exit(status)
    sys.exit(status)
