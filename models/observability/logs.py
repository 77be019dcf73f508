"""Logs: one event is one line with fields, as JSON for programs or in columns for a terminal.

Some values come from clients. Control characters are escaped, so that no value can start a line or send a command to
the terminal. No line contains local variables or the password of a URL.

JSON takes two processors here instead of structlog's usual six: 3 µs a line instead of 12, at one line a request.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.processors import ExceptionRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer

from models.observability.threads import log_uncaught_errors
from models.settings import Settings, SettingsError, load_settings

# Id of the request that this thread is answering, added to every line it logs; "" outside a request.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_URL_PASSWORD = re.compile(r"""(://[^\s/:@]*:)[^\s"']+(?=@)""")
_CONTROL = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # JSON does not escape these
_encode = msgspec.json.Encoder(enc_hook=repr).encode
# Local variables are left out of tracebacks: they hold keys and bodies.
_traceback_as_fields = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
_traceback_as_text = ExceptionRenderer()


def configure_logs(settings: Settings) -> None:
    """Sends the events of structlog and of the standard library to stdout, in the format of LOG_FORMAT."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    structlog.configure(
        processors=_processors(settings.log_format),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(),  # one write a line: processes share the stream
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    log_uncaught_errors()
    # These log each tick of beat and each task.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    logging.getLogger("celery.beat").setLevel(logging.WARNING)
    # The pool logs every failed attempt to connect; models and workers log the failure that results.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def formatter() -> ProcessorFormatter:
    """For granian, whose logging is configured by a file (`--log-config`): the same format as configure_logs."""
    try:
        return _formatter(load_settings().log_format)
    except SettingsError as error:
        raise SystemExit(f"The settings are wrong, the service does not start:\n{error}") from None


class ByDesign(logging.Filter):
    """Leaves out granian's advice on the number of threads: most of them wait for Postgres, or for a slow sender."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Python threads, which seems quite high" not in record.getMessage()


def _formatter(log_format: str) -> ProcessorFormatter:
    return ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name],
        processors=[ProcessorFormatter.remove_processors_meta, *_processors(log_format)],
    )


def _processors(log_format: str) -> list:
    if log_format == "json":
        return [_add_context, _render_json]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        repr_native_str=True,  # quoted, with control characters escaped
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_add_context, _traceback_as_text, _escape_unquoted, console, _hide_passwords]


def _add_context(_: Any, level: str, event: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    line = {"timestamp": f"{now[:-6]}Z", "level": level, **event}
    if current := request_id.get():
        line["request_id"] = current
    return line


def _render_json(_: Any, level: str, event: MutableMapping[str, Any]) -> str:
    if "exc_info" in event:
        event = _traceback_as_fields(_, level, event)
    try:
        line = _encode(event).decode()
    except UnicodeEncodeError:  # a lone surrogate, as in file names that are not UTF-8
        line = _encode({name: ascii(value) for name, value in event.items()}).decode()
    if not line.isascii() or "\x7f" in line:
        line = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
    return _hide_passwords(_, level, line)


def _escape_unquoted(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    event["event"] = _printable(str(event["event"]))
    if "exception" in event:  # each line is marked, so that none can pass for an event
        event["exception"] = "\n".join(f"  | {_printable(line)}" for line in event["exception"].split("\n"))
    return event


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _hide_passwords(_: Any, __: str, line: str) -> str:
    return _URL_PASSWORD.sub(r"\1***", line) if "@" in line else line
