"""The document put together: what the service is, its components, its operations."""

from itertools import chain

from apispec import APISpec

from models.settings import Settings
from models.version import VERSION
from webapp.openapi import (
    alerts,
    analytics,
    answers,
    components,
    device_settings,
    devices,
    exports,
    fleet,
    ingest,
    mapping,
    series,
    service,
    sessions,
    tariffs,
)
from webapp.openapi.fields import OPENAPI_VERSION

DESCRIPTION = """\
Takes in the readings of smart meters (AC side) and electric vehicles (DC side), keeps every one of them, and tells
what each vehicle does with its energy.

**The answer is a promise:** an accepted reading reaches history, or the dead letters with a reason. It is given
only after the reading is on disk, in the append-only file of Redis or in Postgres. Any other answer says whether
anything was taken.

- A request brings an API key, as `Authorization: Bearer <key>` or as `X-API-Key: <key>`. The scopes that an operation
  needs are named with it; `admin` has them all. A key may be bound to devices: then it posts and reads for no others.
- Times are ISO 8601 with a zone; answers give them in UTC.
- Lists come in pages: pass `next` as `cursor` until it is `null`. A cursor is opaque.
- A reading sent twice does no harm: history keeps both submissions, analytics count that device and instant once,
  and the last accepted submission wins.
- Every answer says `Cache-Control: no-store`, and how little a browser may do with it. Pages of another origin may
  call only where the service was told of that origin.
- Every answer has an `X-Request-ID`. Every error has the shape `Error`: unknown paths (404) and methods a path
  does not have (405, with `Allow`) as well.
"""

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key; its scopes are named as roles."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}

TAGS = {
    "Ingest": "Devices send readings here.",
    "Live state": "The newest reading of each device, and all before it.",
    "Mapping": "Which meter feeds which vehicle's charger.",
    "Sessions": "Vehicles that charge, from a start to an end.",
    "Analytics": "Energy in, energy out, and the battery's temperature.",
    "Tariffs": "What a kWh costs at each site.",
    "Alerts": "What a person should look at.",
    "Service": "The service itself: name, health, figures, this document.",
}


def build_document(settings: Settings) -> dict:
    """The OpenAPI document of a service with these settings."""
    spec = APISpec(
        title="Energy Ingestion Engine",
        version=VERSION,
        openapi_version=OPENAPI_VERSION,
        info={"description": DESCRIPTION},
        servers=[{"url": "/"}],
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    for name, component in (
        components.schemas(settings)
        | device_settings.schemas()
        | analytics.schemas(settings)
        | sessions.schemas()
        | fleet.schemas(settings)
        | series.schemas()
        | tariffs.schemas()
        | alerts.schemas()
    ).items():
        spec.components.schema(name, component)
    for name, component in SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, component)
    for name, component in answers.HEADERS.items():
        spec.components.header(name, component)
    for name, component in answers.parameters(settings).items():
        spec.components.parameter(name, component["in"], component)
    for name, component in answers.errors(settings).items():
        spec.components.response(name, component)
    parts = (
        ingest.operations(settings),
        devices.operations(),
        device_settings.operations(),
        mapping.operations(),
        sessions.operations(),
        analytics.operations(),
        fleet.operations(),
        series.operations(),
        tariffs.operations(),
        alerts.operations(),
        exports.operations(),
        service.operations(),
    )
    for path, method, operation in chain.from_iterable(parts):
        spec.path(path, operations={method: operation})
    return spec.to_dict()
