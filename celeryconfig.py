"""Celery's settings. The broker carries only ticks, which may be lost or doubled without harm: readings are in the
telemetry stream, and the sweep rings again for a lost tick."""

from models.settings import SettingsError, load_settings

try:
    _settings = load_settings()
except SettingsError as error:
    raise SystemExit(str(error)) from None

broker_url = _settings.celery_broker_url
broker_transport = "workers.broker:Transport"
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # without end: a worker outlives its broker
broker_transport_options = {
    "visibility_timeout": 300,  # seconds; far above the longest task
    # kombu waits without end by default: a web request must not.
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
    # One more attempt after 0.1 s if the broker is unavailable, and not for 6 s: the sweep rings again.
    "max_retries": 1,
    "interval_start": 0.1,
    "interval_step": 0,
}

task_ignore_result = True
task_acks_late = False
task_publish_retry = False
task_time_limit = 90
worker_prefetch_multiplier = 1
worker_soft_shutdown_timeout = 30
worker_max_memory_per_child = 512 * 1024  # KiB
worker_hijack_root_logger = False
worker_send_task_events = False
worker_enable_prefetch_count_reduction = False  # it is not possible with Redis, which each reconnection would log
enable_utc = True
timezone = "UTC"

# Periodic tasks must not wait behind drains. They expire, so that they do not pile up while no worker runs.
task_default_queue = "drain"
task_routes = {
    "workers.maintenance.*": {"queue": "maintenance"},
    "workers.alerts.*": {"queue": "maintenance"},
    "workers.webhooks.*": {"queue": "maintenance"},
    "workers.rollups.*": {"queue": "maintenance"},
}
task_queues = {"drain": {}, "maintenance": {}}

beat_scheduler = "workers.scheduler:Scheduler"
beat_schedule = {
    "sweep": {"task": "workers.maintenance.sweep", "schedule": 1.0, "options": {"expires": 5}},
    "ensure-partitions": {
        "task": "workers.maintenance.ensure_partitions",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
    "rollups": {"task": "workers.rollups.roll_up", "schedule": 15.0, "options": {"expires": 15}},
    "alerts": {"task": "workers.alerts.evaluate", "schedule": 60.0, "options": {"expires": 60}},
    "webhook": {"task": "workers.webhooks.deliver", "schedule": 10.0, "options": {"expires": 10}},
    "delete-expired": {
        "task": "workers.maintenance.delete_expired",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "end-overdue-sessions": {
        "task": "workers.maintenance.end_overdue_sessions",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
}
