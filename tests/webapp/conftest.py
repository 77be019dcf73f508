from datetime import UTC, datetime
from decimal import Decimal

import pytest

from models.analytics.money.tariffs import Tariff, set_tariff
from models.analytics.sessions.records import start_session
from models.storage.losses import list_losses, record_loss
from models.stream.entry_ids import NO_ENTRY, EntryId
from tests.processes import serving
from tests.webapp.documents import documented_path, resolve, validator

_HEADERS = {"X-Request-ID", "Retry-After", "Idempotent-Replay", "Content-Disposition", "Location", "Allow"}
_HEADERS |= {"WWW-Authenticate", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}


@pytest.fixture(scope="module")
def port(servers):
    with serving() as port:
        yield port


@pytest.fixture
def document(client) -> dict:
    return client.get("/openapi.json").json


@pytest.fixture
def check(document):
    """Checks the status of an answer, and its content and headers by the document; returns the answer."""

    def check(answer, status: int):
        assert answer.status_code == status, answer.text
        request = answer.request
        operation = document["paths"][documented_path(document, request.path)][request.method.lower()]
        described = resolve(document, operation["responses"][str(status)])
        if answer.data:
            assert answer.mimetype in described["content"], "media type"
        if answer.mimetype == "application/json":
            validator(document, described["content"]["application/json"]["schema"]).validate(answer.json)
        documented = set(described["headers"])
        sent = {name for name in _HEADERS if name in answer.headers}
        assert sent <= documented, f"undocumented headers: {sent - documented}"
        assert "X-Request-ID" in sent
        assert ("Retry-After" in sent) == ("Retry-After" in documented)
        return answer

    return check


@pytest.fixture
def path_values(database) -> dict:
    """Values for the placeholders of paths, by name; what they refer to exists."""
    (alert_id,) = database.execute(
        """insert into alerts (device_kind, device_id, kind, value, bound, detail)
           values ('meter', 'M001', 'silent', 4000, 3600, '{"lastSeen": "2026-02-10T10:30:00.000000Z"}') returning id"""
    ).fetchone()
    record_loss(database, 0, position=EntryId(1_000, 0), stored_id=NO_ENTRY, max_entries=50)
    loss_id = list_losses(database, limit=1)[0].id
    set_tariff(database, Tariff("depot-north", "EUR", "Europe/Berlin", Decimal("0.2841")))
    session, _ = start_session(database, "V002", "M002", datetime(2026, 2, 10, 8, tzinfo=UTC))
    return {
        "meterId": "M001",
        "vehicleId": "V001",
        "alertId": alert_id,
        "sessionId": session.id,
        "lossId": loss_id,
        "site": "depot-north",
    }
