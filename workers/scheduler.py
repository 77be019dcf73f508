"""Beat's scheduler."""

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from models.observability.outages import warn_of_outage


class Scheduler(PersistentScheduler):
    """Celery's, which would log each task that it can't send with two tracebacks: thousands of lines in an outage."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # whatever the broker's client raises; the next tick tries again
            cause = error.__context__  # without Celery's sentence, which names the task
            warn_of_outage("task_not_sent", cause if isinstance(cause, Exception) else error)

    def sync(self) -> None:
        try:
            super().sync()
        except OSError as error:  # without room it goes on; after a restart some tasks run early
            warn_of_outage("schedule_not_saved", error)
