"""The ingest paths, over the application and a real stream and database."""

from tests.conftest import ago, meter, stamp, vehicle


def test_accepted_readings_reach_history_and_live(client, database, drain_all):
    answer = client.post("/v1/telemetry", json=[meter(), vehicle()])
    assert answer.status_code == 202
    assert answer.json["accepted"] == 2
    drain_all()
    assert database.execute("select meter_id, kwh_consumed_ac, voltage from meter_readings_history").fetchall() == [
        ("M001", 1.5, 230.0)
    ]
    assert client.get("/v1/vehicles/V001").json["soc"] == 50.0
    receipt = client.get(f"/v1/telemetry/receipts/{answer.json['receipt']}").json
    assert receipt == {"receipt": answer.json["receipt"], "state": "stored", "deadLetters": 0}
