"""The metadata of the schema, and the column types that many tables share."""

from sqlalchemy import Column, DateTime, Double, MetaData, Text

metadata = MetaData()


def device_id(name: str, **options) -> Column:
    # Collation C is byte order: fast to compare, and the order of pages does not depend on a locale.
    return Column(name, Text(collation="C"), **options)


def time(name: str, **options) -> Column:
    return Column(name, DateTime(timezone=True), **options)


def kwh(name: str) -> Column:
    return Column(name, Double, nullable=False)
