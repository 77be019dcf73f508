"""Names of time zones in requests."""

from difflib import get_close_matches

from marshmallow import ValidationError, validate

from models.analytics.energy.buckets import zone_names


class IsZone(validate.Validator):
    """Whether a time zone has this IANA name; the error lists names like it."""

    @property
    def choices(self) -> list[str]:
        """The `enum` in the OpenAPI document."""
        return sorted(zone_names())

    def __call__(self, value: str) -> str:
        if value in zone_names():
            return value
        by_lower = {known.lower(): known for known in zone_names()}
        near = ", ".join(by_lower[found] for found in get_close_matches(value.lower(), by_lower, n=5))
        raise ValidationError(
            "Must be the IANA name of a time zone, such as UTC, Europe/Berlin or America/New_York; the `enum` in "
            "/openapi.json has them all." + (f" Near to this: {near}." if near else "")
        )
