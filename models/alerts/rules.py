"""The alert rules: one statement a kind, over all devices at once. docs/alerts.md has them for a reader.

The rows of a rule have device_kind, device_id, verdict, value, bound and detail. The verdict is `bad` (opens an alert,
or keeps it open), `near` (keeps an alert, opens none) or `good` (resolves it). A device without a row has no verdict:
an alert of it stays. A new kind of alert is a .sql file beside this module and a line in RULES.
"""

from models.sql import read_sql

KINDS = ("efficiency", "implausible_efficiency", "battery_temperature", "silent", "implausible")
EFFICIENCY, IMPLAUSIBLE_EFFICIENCY, BATTERY_TEMPERATURE, SILENT, IMPLAUSIBLE = KINDS

RULES = {kind: read_sql(__file__, kind) for kind in KINDS}

# A fleet of this many devices or fewer may well be silent as a whole: each device is alerted.
FEW_DEVICES = 10
# Ingest stands still if nothing is stored, of any device, for this part of ALERT_SILENT_SECONDS.
STANDSTILL_SHARE = 0.1

STANDSTILL = read_sql(__file__, "standstill")
