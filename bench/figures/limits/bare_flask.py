"""Raw limit, Flask: a view that only answers 202, under granian with the engine's options. Nothing is stored."""

from bench.bench import Bench
from bench.figures.ingest.singles import CONNECTIONS
from bench.load import full_speed
from bench.measured import Value


def measure(bench: Bench) -> list[Value]:
    stack = bench.stack
    stack.stop()
    stack.run("bare", stack.web("bench.baselines.bare:create_app"))
    try:
        stack.wait_until_listening()
        sent = full_speed.send(bench.plan("singles", CONNECTIONS, seconds=bench.seconds(15, 5)), bench.show)
    finally:
        stack.stop()
    return [Value("bare.answered", "raw: a Flask view that only answers 202", sent.per_second, "/s")]
