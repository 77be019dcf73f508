"""Messages in the broker's lists that are no tasks."""

import json

import pytest
from kombu import Consumer, Queue

GARBAGE = [
    b"garbage",
    b"\xff\xfe",
    b"",
    b"[]",
    b"3",
    b"{}",
    json.dumps({"properties": {}, "body": 3}).encode(),
    b"[" * 9000,
]


@pytest.fixture
def app(servers):
    from workers.app import app

    return app


def test_a_message_that_is_no_task_is_dropped_and_the_next_one_taken(app, broker):
    broker.lpush("odds", *GARBAGE)
    received = []

    def receive(body, message):
        received.append(message.headers["task"])
        message.ack()

    with app.connection_for_read() as connection:
        app.send_task("good", queue="odds")
        queue = Queue("odds", durable=True)
        with Consumer(connection, [queue], callbacks=[receive], accept=["json"]):
            while not received:
                try:
                    connection.drain_events(timeout=5)
                except TimeoutError:
                    break
    assert received == ["good"]
    assert broker.llen("odds") == 0
