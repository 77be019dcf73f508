"""The newest reading of a device wins, in whatever order readings come."""

from tests.factories import ago, map_meter, meter, vehicle


def test_an_older_reading_after_a_newer_one_leaves_live_alone(client, drain_all):
    client.post("/v1/telemetry", json=meter(at=ago(minutes=1), voltage=231))
    drain_all()
    client.post("/v1/telemetry", json=meter(at=ago(minutes=9), voltage=239))
    drain_all()
    assert client.get("/v1/meters/M001").json["voltage"] == 231


def test_the_newest_first_inside_one_batch_leaves_live_with_the_newest(client, drain_all):
    at = [ago(minutes=minutes) for minutes in (1, 2, 3)]
    client.post("/v1/telemetry", json=[meter(at=at[0], voltage=231), meter(at=at[1]), meter(at=at[2])])
    drain_all()
    assert client.get("/v1/meters/M001").json["voltage"] == 231


def test_of_two_submissions_for_one_instant_the_last_one_wins_everywhere(client, database, drain_all):
    at = ago(minutes=1)
    map_meter(client)
    client.post("/v1/telemetry", json=[vehicle(at=at), meter(at=at, kwhConsumedAc=5), meter(at=at, kwhConsumedAc=2)])
    drain_all()
    assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == 2
    assert client.get("/v1/analytics/performance/V001").json["totalAcConsumption"] == 2
    client.post("/v1/telemetry", json=meter(at=at, kwhConsumedAc=3))
    drain_all()
    assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == 3
    assert client.get("/v1/analytics/performance/V001").json["totalAcConsumption"] == 3
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 3


def test_a_missing_state_of_charge_keeps_the_newest_known_one(client, drain_all):
    def soc():
        drain_all()
        return client.get("/v1/vehicles/V001").json["soc"]

    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=9), soc=40))
    assert soc() == 40
    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=3), soc=None))
    assert soc() == 40
    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=5), soc=45))  # late, but newer than what is known
    assert soc() == 45
    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=7), soc=43))  # late, and older
    assert soc() == 45
    client.post("/v1/telemetry", json=[vehicle(at=ago(minutes=1), soc=None), vehicle(at=ago(minutes=2), soc=50)])
    assert soc() == 50
