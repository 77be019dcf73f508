"""The bound of a key's devices: readings of devices beyond it are refused row by row."""

from collections.abc import Iterator
from itertools import chain
from operator import itemgetter

from flask import Flask, current_app, g

from models.access.keys import Key
from models.access.known_devices import KnownDevices, max_devices
from models.access.limits import Charge, LimitReached
from models.settings import Settings
from webapp.http.resources import current_resources
from webapp.ingest.fast_decoding import Decoded

_device_id = itemgetter(0)


def are_known(app: Flask, settings: Settings, key: Key, decoded: Decoded) -> bool:
    """Whether no reading is of a device that may be one too many, as far as this process knows."""
    if max_devices(key, settings) is None:
        return True
    return _known_devices(app).knows(key.owner, _device_ids(decoded))


def find_devices_beyond_bound(decoded: Decoded) -> frozenset[str]:
    """The devices of these readings for which the request's key may not post, since it does for as many as it may."""
    key: Key | None = g.key
    most = max_devices(key, current_resources().settings) if key else None
    if key is None or most is None:
        return frozenset()
    known = _known_devices(current_app)
    if known.knows(key.owner, _device_ids(decoded)):
        return frozenset()
    if key.readings:  # a request that is refused 429 must take no places among the key's devices
        allowance = current_resources().stream.charge(Charge(key.owner, key.readings, 0))
        if allowance and allowance.is_used_up:
            raise LimitReached(allowance)
    return known.claim(key.owner, most, set(_device_ids(decoded)))


def _known_devices(app: Flask) -> KnownDevices:
    """Those of this process, created at the first use."""
    found = app.extensions.get("known_devices")
    if found is None:
        found = app.extensions.setdefault("known_devices", KnownDevices(app.extensions["resources"].settings))
    known: KnownDevices = found
    return known


def _device_ids(decoded: Decoded) -> Iterator[str]:
    return map(_device_id, chain(decoded.meters, decoded.vehicles))
