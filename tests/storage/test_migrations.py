"""The migrations create the schema that models/schema describes."""

import os
import subprocess
import sys

import psycopg
import pytest
import sqlalchemy

from models.schema import metadata
from tests import ROOT

pytestmark = pytest.mark.slow

COLUMNS = """
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, coll.collname, a.attidentity,
       pg_get_expr(d.adbin, d.adrelid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
left join pg_collation coll on coll.oid = a.attcollation
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not attisdropped
  and c.relname <> 'alembic_version' order by c.relname, a.attname
"""
INDEXES = """
select tablename, indexname, indexdef from pg_indexes
where schemaname = 'public' and tablename <> 'alembic_version'
  and tablename not in (select relname from pg_class where relispartition) order by 1, 2
"""
CONSTRAINTS = """
select c.relname, con.conname, pg_get_constraintdef(con.oid) from pg_constraint con
join pg_class c on c.oid = con.conrelid
where not c.relispartition and c.relname <> 'alembic_version' and con.contype <> 'n'
  and con.connamespace = 'public'::regnamespace order by 1, 2
"""
STORAGE = """
select relname, reloptions, pg_get_partkeydef(oid) from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
  and relname <> 'alembic_version' order by 1
"""
SEQUENCES = """
select sequencename, min_value, max_value, cycle, increment_by, data_type::text from pg_sequences
where schemaname = 'public' order by 1
"""
VIEWS = "select viewname, definition from pg_views where schemaname = 'public' order by 1"
FUNCTIONS = """
select proname, pg_get_function_arguments(oid), regexp_replace(prosrc, '\\s+', ' ', 'g') from pg_proc
where pronamespace = 'public'::regnamespace order by 1
"""


@pytest.fixture
def empty_database(servers):
    """Makes databases beside that of the tests; returns their URLs."""
    made = []

    def make(name: str) -> str:
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        made.append(name)
        return servers.database_url.rsplit("/", 1)[0] + f"/{name}"

    yield make
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        for name in made:
            connection.execute(f"drop database {name} with (force)")


def alembic(url: str, *arguments: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "alembic", *arguments], cwd=ROOT, check=True, env=environment)


def catalogue(url: str) -> dict:
    with psycopg.connect(url) as connection:
        return {
            name: connection.execute(query).fetchall()
            for name, query in {
                "columns": COLUMNS,
                "indexes": INDEXES,
                "constraints": CONSTRAINTS,
                "storage": STORAGE,
                "sequences": SEQUENCES,
                "views": VIEWS,
                "functions": FUNCTIONS,
            }.items()
        }


def test_models_and_migrations_make_the_same_schema(empty_database):
    migrated, created = empty_database("migrated"), empty_database("created")
    alembic(migrated, "upgrade", "head")
    engine = sqlalchemy.create_engine(created.replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine)
    engine.dispose()
    by_migrations, by_models = catalogue(migrated), catalogue(created)
    assert by_migrations["columns"]
    for part, found in by_migrations.items():
        assert found == by_models[part], part


def test_migrations_go_down_to_nothing_and_up_again(empty_database):
    url = empty_database("up_and_down")
    alembic(url, "upgrade", "head")
    alembic(url, "downgrade", "base")
    assert catalogue(url)["columns"] == []
    alembic(url, "upgrade", "head")
    assert catalogue(url)["columns"]


def test_sessions_that_overlap_before_the_upgrade_are_kept_and_marked(empty_database):
    url = empty_database("overlapping")
    alembic(url, "upgrade", "0015")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
            insert into charging_sessions (vehicle_id, meter_id, started_at, ended_at) values
              ('V1', 'A', '2026-02-10 00:00Z', '2026-02-10 03:00Z'),
              ('V1', 'B', '2026-02-10 01:00Z', '2026-02-10 02:00Z'),
              ('V1', 'A', '2026-02-10 03:00Z', 'infinity'),
              ('V2', 'A', '2026-02-10 00:00Z', '2026-02-10 05:00Z')
        """)
        before = connection.execute(
            "select id, vehicle_id, started_at, ended_at::text from charging_sessions order by id"
        )
        kept = before.fetchall()
        alembic(url, "upgrade", "head")
        after = connection.execute(
            "select id, vehicle_id, started_at, ended_at::text from charging_sessions order by id"
        )
        assert after.fetchall() == kept
        marked = connection.execute("select id from charging_sessions where overlapping order by id").fetchall()
        assert marked == [(kept[0][0],), (kept[1][0],)]


def test_two_migrations_at_the_same_time_do_not_fail_each_other(empty_database):
    url = empty_database("racing")
    environment = {**os.environ, "DATABASE_URL": url}
    racing = [
        subprocess.Popen([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=environment)
        for _ in range(3)
    ]
    assert [process.wait(60) for process in racing] == [0, 0, 0]
