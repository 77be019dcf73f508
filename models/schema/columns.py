"""What the tables of `models` have in common."""

from sqlalchemy import Column, DateTime, Double, MetaData, Text

metadata = MetaData()


def device_id(name: str, **options) -> Column:
    # Byte order: ids are compared, sorted and paged by, never read by a person in a locale.
    return Column(name, Text(collation="C"), **options)


def time(name: str, **options) -> Column:
    return Column(name, DateTime(timezone=True), **options)


def kwh(name: str) -> Column:
    return Column(name, Double, nullable=False)
