"""`python -m devstack`: start the stack, print its addresses, keep it running until Ctrl-C or SIGTERM."""

import os
import signal
import sys
import threading


def _stop(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # nothing may interrupt the stop
    raise SystemExit(0)


def main() -> int:
    """0 after Ctrl-C or SIGTERM, 2 for a wrong setting, 1 for any other failure to start."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)

    # Imported after the signal handlers: a Ctrl-C during this half second shows no traceback.
    from devstack import StackError, private, settings, stack
    from models.environment import SettingsError

    os.umask(private.PRIVATE)
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
        status = int(stopped.code or 0)
    if threading.active_count() > 1:  # the output thread may wait for a stopped terminal
        os._exit(status)
    sys.exit(status)
