"""The obvious service: Flask validates each reading with marshmallow and passes it to Celery, a task for each reading.

It is the first draft of somebody who knows Flask, Celery and SQLAlchemy. bench/figures/ingest/naive.py runs it on the
same servers, with a database of its own.
"""

from flask import Flask, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bench.baselines.naive_tasks import store_reading


class ReadingSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    timestamp = fields.AwareDateTime(required=True)


class MeterSchema(ReadingSchema):
    meterId = fields.String(required=True, validate=validate.Length(1, 64))
    kwhConsumedAc = fields.Float(required=True, validate=validate.Range(min=0))
    voltage = fields.Float(required=True, validate=validate.Range(min=0))


class VehicleSchema(ReadingSchema):
    vehicleId = fields.String(required=True, validate=validate.Length(1, 64))
    kwhDeliveredDc = fields.Float(required=True, validate=validate.Range(min=0))
    batteryTemp = fields.Float(required=True)
    soc = fields.Float(validate=validate.Range(min=0, max=100))


meter_schema, vehicle_schema = MeterSchema(), VehicleSchema()


def create_app() -> Flask:
    app = Flask(__name__)

    @app.post("/v1/telemetry")
    def ingest():
        reading = request.get_json()
        schema = meter_schema if "meterId" in reading else vehicle_schema
        try:
            schema.load(reading)
        except ValidationError as error:
            return {"errors": error.messages}, 422
        store_reading.delay(reading)
        return {"message": "accepted"}, 202

    return app
