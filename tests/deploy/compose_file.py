"""docker-compose.yml and the Dockerfile as tests read them. No container engine runs where the tests run."""

import re
import shlex
from dataclasses import fields

import yaml

from models.settings import Settings
from tests import ROOT

ENGINE_SERVICES = {"migrate", "web", "worker", "beat"}
MONITORING = {"prometheus", "grafana"}
PROXY = {"proxy"}
# Settings whose value is in a file.
IN_FILES = {"DATABASE_PASSWORD", "REDIS_PASSWORD", "ALERT_WEBHOOK_SECRET"}
SETTINGS = {field.name.upper() for field in fields(Settings)} - IN_FILES | {f"{name}_FILE" for name in IN_FILES}
# Read by prometheus-client, not by the engine.
FOREIGN_VARIABLES = {"PROMETHEUS_MULTIPROC_DIR"}


def compose(**variables: str) -> dict:
    """The compose file as `docker compose` would read it with these variables set, and no others."""
    text = (ROOT / "docker-compose.yml").read_text()
    return _interpolate(yaml.safe_load(text), variables)


def _interpolate(node, variables: dict[str, str]):
    if isinstance(node, dict):
        return {key: _interpolate(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate(value, variables) for value in node]
    if not isinstance(node, str):
        return node
    while match := re.search(r"(?<!\$)\$\{(\w+)(:?-)([^${}]*)\}", node):
        name, operator, default = match.groups()
        counts = bool(variables.get(name)) if operator == ":-" else name in variables
        node = node[: match.start()] + (variables[name] if counts else default) + node[match.end() :]
    return node


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def option(command: list[str], name: str) -> str:
    return next(word.split("=", 1)[1] for word in command if word.startswith(f"{name}="))


def dockerfile() -> list[list[list[str]]]:
    """The stages of the Dockerfile, each a list of instructions, each a list of words."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    stages = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if words := shlex.split(line.replace("[", "").replace("]", "").replace('",', '"')):
            if words[0] == "FROM":
                stages.append([])
            stages[-1].append(words)
    return stages


def copied_into_image() -> list[tuple[str, str]]:
    """(source, target) of each COPY from the repository in the last stage."""
    copies = [words[1:] for words in dockerfile()[-1] if words[0] == "COPY" and not words[1].startswith("--from")]
    return [(source, target) for *sources, target in copies for source in sources]
