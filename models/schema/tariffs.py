"""Tariffs: the price of a kWh at a site (models/analytics/money/tariffs.py)."""

from sqlalchemy import CheckConstraint, Column, Numeric, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from models.schema.columns import metadata, time

tariffs = Table(
    "tariffs",
    metadata,
    Column("site", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("price_per_kwh", Numeric, nullable=False),
    Column("periods", JSONB, nullable=False, server_default=text("'[]'")),
    time("updated_at", nullable=False, server_default=text("now()")),
    CheckConstraint("price_per_kwh >= 0 AND price_per_kwh < 'Infinity'", name="tariffs_price"),
)
