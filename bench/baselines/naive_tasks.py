"""The naive baseline's Celery application, models and task: a reading is a transaction of its own."""

import os
from datetime import datetime

from celery import Celery
from sqlalchemy import DateTime, Index, create_engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Celery("naive", broker=os.environ["NAIVE_BROKER_URL"])
app.conf.task_ignore_result = True
engine = create_engine(os.environ["NAIVE_DATABASE_URL"])


class Base(DeclarativeBase):
    pass


class MeterReading(Base):
    __tablename__ = "meter_readings"
    __table_args__ = (Index("meter_readings_device", "meter_id", "recorded_at"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    meter_id: Mapped[str]
    kwh_consumed_ac: Mapped[float]
    voltage: Mapped[float]
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class VehicleReading(Base):
    __tablename__ = "vehicle_readings"
    __table_args__ = (Index("vehicle_readings_device", "vehicle_id", "recorded_at"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    vehicle_id: Mapped[str]
    kwh_delivered_dc: Mapped[float]
    battery_temp: Mapped[float]
    soc: Mapped[float | None]
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class MeterLive(Base):
    __tablename__ = "meters"
    meter_id: Mapped[str] = mapped_column(primary_key=True)
    kwh_consumed_ac: Mapped[float]
    voltage: Mapped[float]
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class VehicleLive(Base):
    __tablename__ = "vehicles"
    vehicle_id: Mapped[str] = mapped_column(primary_key=True)
    kwh_delivered_dc: Mapped[float]
    battery_temp: Mapped[float]
    soc: Mapped[float | None]
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


@app.task
def store_reading(reading: dict) -> None:
    recorded_at = datetime.fromisoformat(reading["timestamp"])
    if "meterId" in reading:
        history, live, key = MeterReading, MeterLive, "meter_id"
        values = {
            "meter_id": reading["meterId"],
            "kwh_consumed_ac": reading["kwhConsumedAc"],
            "voltage": reading["voltage"],
        }
    else:
        history, live, key = VehicleReading, VehicleLive, "vehicle_id"
        values = {
            "vehicle_id": reading["vehicleId"],
            "kwh_delivered_dc": reading["kwhDeliveredDc"],
            "battery_temp": reading["batteryTemp"],
            "soc": reading.get("soc"),
        }
    values["recorded_at"] = recorded_at
    upsert = insert(live).values(values)
    with Session(engine) as session:
        session.add(history(**values))
        session.execute(
            upsert.on_conflict_do_update(
                index_elements=[key], set_=values, where=live.recorded_at <= upsert.excluded.recorded_at
            )
        )
        session.commit()
