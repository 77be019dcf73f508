"""A Flask view that only answers: the cost of the web framework."""

from flask import Flask


def create_app() -> Flask:
    app = Flask(__name__)

    @app.post("/v1/telemetry")
    def ingest():
        return {"message": "accepted"}, 202

    return app
