"""The snapshot that readiness, status and doctor judge."""

import subprocess
import sys

import pytest
from alembic.script import ScriptDirectory

from models.revisions import known_revisions
from tests import ROOT


def test_known_revisions_are_those_of_alembic():
    scripts = ScriptDirectory(str(ROOT / "migrations"))
    assert known_revisions() == tuple(script.revision for script in scripts.walk_revisions())


@pytest.mark.slow
def test_a_web_process_does_not_import_alembic(servers):
    code = """if True:
        import sys, webapp
        client = webapp.create_app().test_client()
        assert client.get("/health/ready").status_code in (200, 503)
        assert not [name for name in sys.modules if name.split(".")[0] == "alembic"]
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
